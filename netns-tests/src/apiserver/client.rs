//! What a user does with an API server.

use std::fmt;
use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use podgate_control::net::Netns;
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::eventually;

/// How long a write may be refused because of one that came between.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks the API server, from within the node's namespace.
#[derive(Debug)]
pub struct Client {
    questions: Option<UnboundedSender<Question>>,
    thread: Option<JoinHandle<()>>,
}

struct Question {
    method: &'static str,
    /// Of the body.
    kind: &'static str,
    path: String,
    body: Option<Value>,
    answer: Sender<Result<Value, Refusal>>,
}

/// Why a question was not answered.
pub struct Refusal {
    /// The HTTP status; 0 where there was no answer at all.
    pub code: u16,
    /// In words.
    pub message: String,
}

impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.message)
    }
}

impl Client {
    pub(super) fn new(netns: &Path, kubeconfig: &Path) -> Self {
        let (questions, asked) = unbounded_channel();
        let (netns, kubeconfig) = (netns.to_owned(), kubeconfig.to_owned());
        let thread = thread::spawn(move || {
            let space = Netns::open_at(&netns).expect("the node's namespace");
            space.run(move || answer_all(&kubeconfig, asked)).expect("the node's namespace");
        });
        Self { questions: Some(questions), thread: Some(thread) }
    }

    fn try_ask(&self, method: &'static str, path: &str, body: Option<Value>) -> Result<Value, Refusal> {
        let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        self.try_ask_with(method, kind, path, body)
    }

    fn try_ask_with(
        &self,
        method: &'static str,
        kind: &'static str,
        path: &str,
        body: Option<Value>,
    ) -> Result<Value, Refusal> {
        let (answer, answered) = channel();
        let question = Question { method, kind, path: path.to_owned(), body, answer };
        self.questions.as_ref().expect("it lives").send(question).expect("the client's thread");
        answered.recv().expect("the client's thread")
    }

    #[track_caller]
    fn ask(&self, method: &'static str, path: &str, body: Option<Value>) -> Value {
        let asked = format!("{method} {path}");
        self.try_ask(method, path, body).unwrap_or_else(|refusal| panic!("{asked}: {refusal:?}"))
    }

    /// Whether the server is ready.
    pub fn is_ready(&self) -> bool {
        // /readyz answers in words, not in JSON; this needs all that a list needs, etcd too.
        self.try_ask("GET", "/api/v1/namespaces/default", None).is_ok()
    }

    /// Creates every object of the manifests, as they are or as they will be: what they say under `status` is
    /// what a kubelet or a controller would say.
    #[track_caller]
    pub fn apply(&self, manifests: &str) {
        for text in manifests.split("\n---").map(|text| text.trim_start_matches("---")) {
            let object: Option<Value> = serde_saphyr::from_str(text).expect("a manifest");
            if let Some(object) = object.filter(|object| !object.is_null()) {
                self.apply_one(&object);
            }
        }
    }

    #[track_caller]
    fn apply_one(&self, object: &Value) {
        let at = path_of(object);
        let (collection, _) = at.rsplit_once('/').expect("an object is in a collection");
        match self.try_ask("POST", collection, Some(object.clone())) {
            Ok(_) => {}
            Err(Refusal { code: 409, .. }) => {
                self.ask("PATCH", &at, Some(object.clone()));
            }
            Err(refusal) => panic!("{at}: {refusal:?}"),
        }
        if let Some(status) = object.get("status") {
            self.ask("PATCH", &format!("{at}/status"), Some(json!({"status": status})));
        }
    }

    /// What is at a path of the API.
    #[track_caller]
    pub fn get(&self, path: &str) -> Value {
        self.ask("GET", path, None)
    }

    /// Puts something new at a path of the API; returns what has become of it.
    #[track_caller]
    pub fn create(&self, path: &str, object: Value) -> Value {
        self.ask("POST", path, Some(object))
    }

    /// What would become of an object that is applied on the server's side: it takes no field that it does not
    /// know. Nothing is kept.
    pub fn try_apply(&self, object: &Value) -> Result<Value, Refusal> {
        let path = format!("{}?fieldManager=test&force=true&dryRun=All", path_of(object));
        // JSON is YAML.
        self.try_ask_with("PATCH", "application/apply-patch+yaml", &path, Some(object.clone()))
    }

    /// Changes an object (`Pod x/a`): what the patch says, and nothing else (RFC 7386).
    #[track_caller]
    pub fn patch(&self, title: &str, patch: Value) {
        self.ask("PATCH", &path_of_title(title), Some(patch));
    }

    /// Deletes an object (`Pod x/a`), at once.
    #[track_caller]
    pub fn delete(&self, title: &str) {
        let path = format!("{}?gracePeriodSeconds=0", path_of_title(title));
        self.ask("DELETE", &path, None);
        eventually("it is gone", PATIENCE, || self.try_ask("GET", &path_of_title(title), None).err());
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        drop(self.questions.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer_all(kubeconfig: &Path, mut asked: UnboundedReceiver<Question>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let kubeconfig = Kubeconfig::read_from(kubeconfig).expect("a kubeconfig");
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
        let client = kube::Client::try_from(config.expect("a kubeconfig")).expect("a client");
        while let Some(Question { method, kind, path, body, answer }) = asked.recv().await {
            let body = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
            let request = http::Request::builder().method(method).uri(path).header("Content-Type", kind);
            let result = client.request::<Value>(request.body(body).expect("a request")).await;
            // Whoever asked may have given up.
            let _ = answer.send(result.map_err(|error| match error {
                kube::Error::Api(status) => Refusal { code: status.code, message: status.message.clone() },
                error => Refusal { code: 0, message: format!("{error:?}") },
            }));
        }
    });
}

/// Where an object is.
fn path_of(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (kind, name) = (text(&object["kind"]), text(&object["metadata"]["name"]));
    path_of_parts(&kind, object["metadata"]["namespace"].as_str(), &name)
}

fn path_of_title(title: &str) -> String {
    let (kind, key) = title.split_once(' ').expect("Kind namespace/name");
    match key.split_once('/') {
        Some((namespace, name)) => path_of_parts(kind, Some(namespace), name),
        None => path_of_parts(kind, None, key),
    }
}

fn path_of_parts(kind: &str, namespace: Option<&str>, name: &str) -> String {
    let (root, plural) = match kind {
        "Namespace" => ("/api/v1", "namespaces"),
        "Node" => ("/api/v1", "nodes"),
        "Pod" => ("/api/v1", "pods"),
        "Service" => ("/api/v1", "services"),
        "Endpoints" => ("/api/v1", "endpoints"),
        "ConfigMap" => ("/api/v1", "configmaps"),
        "ServiceAccount" => ("/api/v1", "serviceaccounts"),
        "DaemonSet" => ("/apis/apps/v1", "daemonsets"),
        "NetworkPolicy" => ("/apis/networking.k8s.io/v1", "networkpolicies"),
        "EndpointSlice" => ("/apis/discovery.k8s.io/v1", "endpointslices"),
        "ClusterRole" => ("/apis/rbac.authorization.k8s.io/v1", "clusterroles"),
        "ClusterRoleBinding" => ("/apis/rbac.authorization.k8s.io/v1", "clusterrolebindings"),
        other => panic!("where are objects of kind {other}?"),
    };
    match namespace {
        Some(namespace) => format!("{root}/namespaces/{namespace}/{plural}/{name}"),
        None => format!("{root}/{plural}/{name}"),
    }
}
