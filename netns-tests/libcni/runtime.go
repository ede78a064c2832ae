// A container runtime, as far as its network goes: one call of libcni, which containerd and CRI-O use too.
//
// runtime COMMAND CONF_DIR NETWORK PLUGIN_PATH CACHE_DIR CONTAINER NETNS NAMESPACE NAME
//
// COMMAND is validate, add, check or del. A result goes to standard output, an error to standard error.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containernetworking/cni/libcni"
)

func run(args []string) error {
	if len(args) != 9 {
		return fmt.Errorf("9 arguments are needed, not %d", len(args))
	}
	list, err := libcni.LoadConfList(args[1], args[2])
	if err != nil {
		return err
	}
	cni := libcni.NewCNIConfigWithCacheDir(filepath.SplitList(args[3]), args[4], nil)
	container := &libcni.RuntimeConf{
		ContainerID: args[5],
		NetNS:       args[6],
		IfName:      "eth0",
		Args:        [][2]string{{"IgnoreUnknown", "1"}, {"K8S_POD_NAMESPACE", args[7]}, {"K8S_POD_NAME", args[8]}},
	}
	ctx := context.Background()
	switch args[0] {
	case "validate":
		_, err := cni.ValidateNetworkList(ctx, list)
		return err
	case "add":
		result, err := cni.AddNetworkList(ctx, list, container)
		if err != nil {
			return err
		}
		return result.Print()
	case "check":
		return cni.CheckNetworkList(ctx, list, container)
	case "del":
		return cni.DelNetworkList(ctx, list, container)
	}
	return fmt.Errorf("there is no command %q", args[0])
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
