//! What is kept from load to load changes nothing but who owns the objects.

use std::fs;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::model::{NetworkPolicy, ObjectKey};

/// Documents, good and bad, some of one object, some that move the lines of the next.
const POOL: &[&str] = &[
    "apiVersion: v1\nkind: Namespace\nmetadata: {name: x, labels: {a: b}}\n",
    "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: x, labels: {app: a}}\nstatus: {podIP: 10.0.0.1}\n",
    "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: x}\n",
    "apiVersion: v1\nkind: Node\nmetadata: {name: n}\nspec: {podCIDR: 10.0.0.0/24}\n",
    "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: x}\nspec: {podSelector: {}}\n",
    "# moved\n\n\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: q, namespace: y}\nspec: {}\n",
    "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: r}\nspec:\n  ingress:\n  - ports:\n    - port: 70000\n",
    "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Pod, metadata: {name: b}}\n- {kind: Pod}\n",
    "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Pod\n  metadata: {name: c}\n- apiVersion: v1\n  kind: Pod\n  metadata: {name: d}\n",
    "apiVersion: v1\nkind: PodList\nitems:\n  - metadata: {name: c}\n# x\n  - metadata:\n      name: d\nmetadata: {}\n",
    "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\n",
    "kind: [\n",
    "# nothing but a comment\n",
    "",
];

#[derive(Clone, Debug)]
enum Edit {
    Write { file: usize, documents: Vec<&'static str>, is_utf8: bool },
    Remove { file: usize },
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let documents = prop::collection::vec(select(POOL), 0..4);
    let write = (0..3_usize, documents, prop::bool::weighted(0.95))
        .prop_map(|(file, documents, is_utf8)| Edit::Write { file, documents, is_utf8 });
    let remove = (0..3_usize).prop_map(|file| Edit::Remove { file });
    prop::collection::vec(prop_oneof![5 => write, 1 => remove], 1..12)
}

/// In place, or by another file that is moved there.
fn apply(edit: &Edit, dir: &Path, in_place: bool) {
    match edit {
        Edit::Write { file, documents, is_utf8 } => {
            let mut text = documents.join("---\n").into_bytes();
            if !is_utf8 {
                text.push(0xff);
            }
            let path = dir.join(format!("{file}.yaml"));
            if in_place {
                fs::write(path, text).unwrap();
            } else {
                fs::write(dir.join("aside"), text).unwrap();
                fs::rename(dir.join("aside"), path).unwrap();
            }
        }
        Edit::Remove { file } => {
            let _ = fs::remove_file(dir.join(format!("{file}.yaml")));
        }
    }
}

type Told = Result<(Cluster, Background, Vec<Note>, usize), Vec<SourceError>>;

fn told(loaded: Result<Loaded, Vec<SourceError>>) -> Told {
    loaded.map(|loaded| (loaded.cluster, loaded.background, loaded.notes, loaded.files))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_is_kept_is_what_would_be_read(edits in edits(), have_settled: bool) {
        let dir = tempfile::tempdir().unwrap();
        let directory = Directory::new([dir.path()]);
        let (mut seen, mut last) = (Seen::default(), None);
        // As if all files had been as they are for an hour, whenever they are looked at.
        let now = SystemTime::now() + if have_settled { Duration::from_hours(1) } else { Duration::ZERO };
        for edit in &edits {
            apply(edit, dir.path(), !have_settled);
            if let Some(loaded) = directory.load_changed(&mut seen, now) {
                last = Some(told(loaded));
            }
            prop_assert_eq!(last.as_ref(), Some(&told(directory.load())));
        }
    }
}

/// Items, good and bad, each a whole one or what would be no item by itself.
const ITEMS: &[&str] = &[
    "- apiVersion: v1\n  kind: Pod\n  metadata: {name: a}\n",
    "- metadata:\n    name: b\n",
    "-\n  apiVersion: v1\n  kind: Pod\n\n# between\n  metadata: {name: c}\n",
    "- apiVersion: networking.k8s.io/v1\n  kind: NetworkPolicy\n  metadata: {name: p}\n  spec: {ingress: [{ports: [{port: 0}]}]}\n",
    "- apiVersion: v1\n  kind: Pod\n  metadata:\n    name: d\n    annotations:\n      k: |\n        - not an item\n      l: \"x\n        - nor this\"\n",
    "- &one {apiVersion: v1, kind: Pod, metadata: {name: e}}\n",
    "- *one\n",
    "- {kind: Pod,\n",
    "- \"a\n",
    "- - nested\n",
    "# a comment\n",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_list_says_what_it_says_as_a_whole(
        items in prop::collection::vec(select(ITEMS), 0..6),
        kind in select(&["List", "PodList", "Pod", "ThingList"][..]),
        depth in 0..3_usize,
        tail in select(&["", "metadata: {}\n", "}\n", "items: []\n"][..]),
    ) {
        let indented = items.concat();
        let indented: String =
            indented.split_inclusive('\n').map(|line| " ".repeat(depth) + line).collect();
        let text = format!("# first\napiVersion: v1\nkind: {kind}\nitems:\n{indented}{tail}");
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("l.yaml");
        fs::write(&file, &text).unwrap();
        let whole = crate::source::read_manifests(&text, &file, Strictness::New);
        match Directory::new([&file]).load() {
            Ok(loaded) => {
                prop_assert_eq!(whole.errors, []);
                let mut cluster = Cluster::new();
                whole.manifests.into_iter().for_each(|manifest| manifest.object.put_into(&mut cluster));
                prop_assert_eq!(loaded.cluster, cluster);
                prop_assert!(loaded.notes.starts_with(&whole.notes));
            }
            Err(mut errors) => {
                errors.retain(|error| !matches!(error.problem, Problem::Duplicate { .. }));
                prop_assert_eq!(errors, whole.errors);
            }
        }
    }
}

#[test]
fn an_edit_of_a_list_leaves_the_other_items_the_very_same() {
    let dir = tempfile::tempdir().unwrap();
    let directory = Directory::new([dir.path()]);
    let mut seen = Seen::default();
    let mut load = |types: &str| {
        let item = |name: &str, types: &str| {
            format!(
                "- apiVersion: networking.k8s.io/v1\n  kind: NetworkPolicy\n  metadata:\n    name: {name}\n  \
                 spec:\n    podSelector: {{}}\n    policyTypes: [{types}]\n"
            )
        };
        let text = format!(
            "apiVersion: v1\nitems:\n{}{}kind: List\nmetadata:\n  resourceVersion: \"\"\n",
            item("a", types),
            item("b", "Ingress")
        );
        fs::write(dir.path().join("p.yaml"), text).unwrap();
        directory.load_changed(&mut seen, SystemTime::now()).expect("a change").unwrap().cluster
    };
    let (before, after) = (load("Ingress"), load("Egress"));
    let [a, b] = ["a", "b"].map(|name| ObjectKey::new("default", name));
    assert!(std::sync::Arc::ptr_eq(&before.policies()[&b], &after.policies()[&b]));
    assert_ne!(before.policies()[&a], after.policies()[&a]);
}

#[test]
fn an_edit_leaves_the_other_objects_the_very_same() {
    let dir = tempfile::tempdir().unwrap();
    let policy = |name: &str, more: &str| {
        let head = "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n";
        format!("{head}metadata: {{name: {name}}}\nspec: {{podSelector: {{}}{more}}}\n")
    };
    let directory = Directory::new([dir.path()]);
    let mut seen = Seen::default();
    let mut load = |text: &str| {
        fs::write(dir.path().join("p.yaml"), text).unwrap();
        directory.load_changed(&mut seen, SystemTime::now()).expect("a change").unwrap().cluster
    };
    let object = |cluster: &Cluster, name: &str| {
        std::sync::Arc::<NetworkPolicy>::clone(&cluster.policies()[&ObjectKey::new("default", name)])
    };
    let before = load(&(policy("a", "") + &policy("b", "")));
    // One before it is other now, and stands on more lines.
    let after = load(&(policy("a", ", policyTypes: [Egress]") + "# more\n" + &policy("b", "")));
    assert!(std::sync::Arc::ptr_eq(&object(&before, "b"), &object(&after, "b")));
    assert_ne!(object(&before, "a"), object(&after, "a"));
    // What is gone is given up, and read anew when it comes back.
    load("");
    load(&policy("a", ""));
    let again = load(&policy("b", ""));
    assert!(!std::sync::Arc::ptr_eq(&object(&before, "b"), &object(&again, "b")));
    assert_eq!(object(&before, "b"), object(&again, "b"));
}
