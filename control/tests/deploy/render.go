// Renders the chart as Helm does, for the tests: text/template with sprig's functions and Helm's own, values laid
// over the chart's and checked by its schema. (Debian has no helm; it has every library that helm is made of.)
//
//	render CHART RELEASE NAMESPACE [VALUES]
//
// Prints the objects as a stream of YAML documents, then NOTES.txt as a comment of each line.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig"
	"github.com/xeipuuv/gojsonschema"
	"sigs.k8s.io/yaml"
)

type object = map[string]interface{}

func main() {
	if len(os.Args) < 4 {
		fail(fmt.Errorf("usage: render CHART RELEASE NAMESPACE [VALUES]"))
	}
	chart, release, namespace := os.Args[1], os.Args[2], os.Args[3]
	values := read(filepath.Join(chart, "values.yaml"))
	if len(os.Args) > 4 {
		values = merge(values, read(os.Args[4]))
	}
	check(filepath.Join(chart, "values.schema.json"), values)
	about := read(filepath.Join(chart, "Chart.yaml"))
	context := object{
		"Values":       values,
		"Chart":        object{"Name": about["name"], "Version": about["version"], "AppVersion": about["appVersion"]},
		"Release":      object{"Name": release, "Namespace": namespace, "Service": "Helm", "IsInstall": true, "IsUpgrade": false, "Revision": 1},
		"Capabilities": object{"KubeVersion": object{"Version": "v1.31.0", "Major": "1", "Minor": "31"}},
	}
	all := template.New("chart").Option("missingkey=zero")
	all.Funcs(functions(all, context))
	files, err := filepath.Glob(filepath.Join(chart, "templates", "*"))
	fail(err)
	sort.Strings(files)
	for _, file := range files {
		text, err := os.ReadFile(file)
		fail(err)
		_, err = all.New(filepath.Base(file)).Parse(string(text))
		fail(err)
	}
	for _, file := range files {
		name := filepath.Base(file)
		if strings.HasPrefix(name, "_") {
			continue
		}
		text := execute(all, name, context)
		if name == "NOTES.txt" {
			text = "# " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n# ") + "\n"
		}
		if strings.TrimSpace(text) != "" {
			fmt.Printf("---\n# Source: %s\n%s", name, text)
		}
	}
}

// functions are sprig's, but for those that look at the machine, and those that Helm adds.
func functions(all *template.Template, context object) template.FuncMap {
	funcs := sprig.TxtFuncMap()
	delete(funcs, "env")
	delete(funcs, "expandenv")
	funcs["toYaml"] = func(value interface{}) string {
		text, err := yaml.Marshal(value)
		if err != nil {
			return ""
		}
		return strings.TrimSuffix(string(text), "\n")
	}
	funcs["fromYaml"] = func(text string) object {
		value := object{}
		if err := yaml.Unmarshal([]byte(text), &value); err != nil {
			value["Error"] = err.Error()
		}
		return value
	}
	funcs["include"] = func(name string, value interface{}) (string, error) {
		var text strings.Builder
		err := all.ExecuteTemplate(&text, name, value)
		return text.String(), err
	}
	funcs["required"] = func(message string, value interface{}) (interface{}, error) {
		if value == nil || value == "" {
			return value, fmt.Errorf("%s", message)
		}
		return value, nil
	}
	funcs["tpl"] = func(text string, value interface{}) (string, error) {
		inner, err := template.Must(all.Clone()).New("tpl").Parse(text)
		if err != nil {
			return "", err
		}
		var out strings.Builder
		err = inner.Execute(&out, value)
		return out.String(), err
	}
	return funcs
}

func execute(all *template.Template, name string, context object) string {
	var text strings.Builder
	fail(all.ExecuteTemplate(&text, name, context))
	return strings.ReplaceAll(text.String(), "<no value>", "")
}

func read(file string) object {
	text, err := os.ReadFile(file)
	fail(err)
	value := object{}
	fail(yaml.Unmarshal(text, &value))
	return value
}

// merge lays over on what is under; null takes away.
func merge(under, over object) object {
	for key, value := range over {
		inner, isObject := value.(object)
		below, hasBelow := under[key].(object)
		switch {
		case value == nil:
			delete(under, key)
		case isObject && hasBelow:
			under[key] = merge(below, inner)
		default:
			under[key] = value
		}
	}
	return under
}

func check(file string, values object) {
	schema, err := os.ReadFile(file)
	fail(err)
	text, err := json.Marshal(values)
	fail(err)
	result, err := gojsonschema.Validate(gojsonschema.NewBytesLoader(schema), gojsonschema.NewBytesLoader(text))
	fail(err)
	for _, wrong := range result.Errors() {
		fmt.Fprintf(os.Stderr, "values: %s\n", wrong)
	}
	if !result.Valid() {
		os.Exit(1)
	}
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
