//! A small API server in this process: it lists, it watches, and it fails as it is told.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use futures::StreamExt;
use podgate_control::model::Cluster;
use podgate_control::source::{Access, Follower, KubernetesOptions, Loaded, SourceStatus};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Longer than anything here takes.
pub const LONG: Duration = Duration::from_secs(20);
/// Within this, what is not to happen would have happened.
pub const SHORT: Duration = Duration::from_millis(300);

pub const NAMESPACES: &str = "/api/v1/namespaces";
pub const NODES: &str = "/api/v1/nodes";
pub const PODS: &str = "/api/v1/pods";
pub const SERVICES: &str = "/api/v1/services";
pub const ENDPOINTS: &str = "/api/v1/endpoints";
pub const POLICIES: &str = "/apis/networking.k8s.io/v1/networkpolicies";
pub const SLICES: &str = "/apis/discovery.k8s.io/v1/endpointslices";
const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/{namespace}/events";
const DISCOVERY: &str = "/apis/discovery.k8s.io/v1";
const ALL: [&str; 7] = [NAMESPACES, NODES, PODS, SERVICES, ENDPOINTS, POLICIES, SLICES];

/// The server. Dropping it ends it, with all connections.
pub struct Api {
    address: SocketAddr,
    shared: Arc<Shared>,
    serving: Option<JoinHandle<()>>,
    pub dir: TempDir,
}

#[derive(Default)]
struct Shared {
    known: Mutex<Known>,
    asked: Notify,
}

#[derive(Default)]
struct Known {
    version: u64,
    resources: BTreeMap<&'static str, Resource>,
    has_no_slices: bool,
    /// Events that somebody wanted to write.
    events: Vec<Value>,
    /// The policy whose Events are refused, or those of all, and the answer.
    refuses_events: Option<(Option<String>, u16)>,
}

/// One kind of objects.
#[derive(Default)]
struct Resource {
    objects: BTreeMap<String, Value>,
    /// Events so far, with their version.
    log: Vec<(u64, String)>,
    /// Nothing before this is remembered.
    compacted: u64,
    watchers: Vec<mpsc::UnboundedSender<io::Result<Bytes>>>,
    refused: Option<u16>,
    gone_as_answer: bool,
    is_held: Option<Arc<Notify>>,
    /// Lists come in two pages: one object, and the others. What is held is the second.
    has_pages: bool,
    stalls: bool,
    lists: usize,
    watches: usize,
}

impl Api {
    /// A server with a namespace `x`.
    pub async fn start() -> Self {
        let mut api = Self::away().await;
        api.serve().await;
        api
    }

    /// One that is not there yet, but will be at its address.
    pub async fn away() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        shared.known.lock().unwrap().resources = ALL.map(|path| (path, Resource::default())).into();
        let api = Self { address, shared, serving: None, dir: tempfile::tempdir().unwrap() };
        api.put(NAMESPACES, json!({"metadata": {"name": "x", "labels": {"team": "x"}}}));
        api
    }

    pub async fn serve(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        let router = Router::new().route(EVENTS, post(record)).fallback(answer);
        let router = router.with_state(Arc::clone(&self.shared));
        self.serving = Some(tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }));
    }

    /// Ends it: connections break, and no new ones are taken.
    pub fn end(&mut self) {
        self.serving.take().unwrap().abort();
        for resource in self.known().resources.values_mut() {
            resource.break_off("");
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.shared.known.lock().unwrap()
    }

    fn change<T>(&self, path: &str, change: impl FnOnce(&mut Resource) -> T) -> T {
        change(self.known().resources.get_mut(path).unwrap())
    }

    /// Puts an object, or another in its place; watchers are told.
    pub fn put(&self, path: &str, object: Value) {
        let known = &mut *self.known();
        known.version += 1;
        let resource = known.resources.get_mut(path).unwrap();
        let key = key(&object);
        let before = resource.objects.get(&key);
        let uid = before
            .map_or_else(|| json!(format!("u{}", known.version)), |before| before["metadata"]["uid"].clone());
        let kind = if before.is_some() { "MODIFIED" } else { "ADDED" };
        let object = versioned(object, &uid, known.version);
        resource.objects.insert(key, object.clone());
        resource.tell(known.version, kind, &object);
    }

    /// Puts an object without telling anybody.
    pub fn change_silently(&self, path: &str, object: Value) {
        let known = &mut *self.known();
        known.version += 1;
        let object = versioned(object, &json!("silent"), known.version);
        known.resources.get_mut(path).unwrap().objects.insert(key(&object), object);
    }

    /// Takes an object away; watchers are told.
    pub fn remove(&self, path: &str, key: &str) {
        let known = &mut *self.known();
        known.version += 1;
        let resource = known.resources.get_mut(path).unwrap();
        let object = resource.objects.remove(key).unwrap();
        let uid = object["metadata"]["uid"].clone();
        resource.tell(known.version, "DELETED", &versioned(object, &uid, known.version));
    }

    /// Tells watchers of `object` as it is, whatever there is.
    pub fn tell(&self, path: &str, kind: &str, object: &Value) {
        let line = format!("{}\n", json!({"type": kind, "object": object}));
        self.change(path, |resource| resource.send(&line));
    }

    /// The object as it is.
    pub fn get(&self, path: &str, key: &str) -> Value {
        self.change(path, |resource| resource.objects[key].clone())
    }

    /// Sends watchers these bytes.
    pub fn send(&self, path: &str, bytes: &str) {
        self.change(path, |resource| resource.send(bytes));
    }

    /// Breaks off every watch, after these bytes.
    pub fn break_off(&self, path: &str, bytes: &str) {
        self.change(path, |resource| resource.break_off(bytes));
    }

    /// Forgets events so far: who asks for what came after an older version is told that it is gone, in the
    /// answer's head or in an event.
    pub fn compact(&self, path: &str, as_answer: bool) {
        let known = &mut *self.known();
        let resource = known.resources.get_mut(path).unwrap();
        (resource.compacted, resource.gone_as_answer) = (known.version, as_answer);
        resource.log.clear();
    }

    /// Answers every question about it with that code; `None`: well again.
    pub fn refuse(&self, path: &str, code: Option<u16>) {
        self.change(path, |resource| resource.refused = code);
    }

    /// Holds answers to lists back until [`Api::release`].
    pub fn hold(&self, path: &str) {
        self.change(path, |resource| resource.is_held = Some(Arc::default()));
    }

    /// Answers a list with its first object from now on, and holds the page with the others back until
    /// [`Api::release`].
    pub fn hold_second_page(&self, path: &str) {
        self.change(path, |resource| resource.has_pages = true);
        self.hold(path);
    }

    pub fn release(&self, path: &str) {
        self.change(path, |resource| resource.is_held.take().unwrap().notify_waiters());
    }

    /// Whether watches that begin from now on stay silent, whatever happens.
    pub fn stall(&self, path: &str, stalls: bool) {
        self.change(path, |resource| resource.stalls = stalls);
    }

    /// Answers every Event with that code from now on, or every one on the policy of that name.
    pub fn refuse_events(&self, policy: Option<&str>, code: u16) {
        self.known().refuses_events = Some((policy.map(str::to_owned), code));
    }

    /// Waits until somebody has wanted so many times to write an Event.
    pub async fn until_events(&self, count: usize) -> Vec<Value> {
        let written = async {
            loop {
                let notified = self.shared.asked.notified();
                let events = self.known().events.clone();
                if events.len() >= count {
                    return events;
                }
                notified.await;
            }
        };
        timeout(LONG, written).await.unwrap_or_else(|_| panic!("{:?}", self.known().events))
    }

    /// Whether the server has `discovery.k8s.io/v1`.
    pub fn has_slices(&self, has: bool) {
        self.known().has_no_slices = !has;
    }

    /// How often it was listed, and how often watched.
    pub fn asked(&self, path: &str) -> (usize, usize) {
        self.change(path, |resource| (resource.lists, resource.watches))
    }

    /// Waits until it has been listed and watched as often, or oftener.
    pub async fn until_asked(&self, path: &str, lists: usize, watches: usize) {
        let asked = async {
            loop {
                let notified = self.shared.asked.notified();
                let (listed, watched) = self.asked(path);
                if listed >= lists && watched >= watches {
                    return;
                }
                notified.await;
            }
        };
        timeout(LONG, asked).await.unwrap_or_else(|_| panic!("{path}: {:?}", self.asked(path)));
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn options(&self) -> KubernetesOptions {
        let file = self.dir.path().join("kubeconfig");
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "here",
            "clusters": [{"name": "here", "cluster": {"server": self.url()}}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
            "users": [{"name": "me", "user": {"token": "secret"}}],
        });
        std::fs::write(&file, kubeconfig.to_string()).unwrap();
        KubernetesOptions {
            access: Access::Kubeconfig { file: Some(file), context: None },
            saved: self.saved(),
            node: None,
            silence: KubernetesOptions::SILENCE,
            spread: Duration::ZERO,
        }
    }

    pub fn saved(&self) -> PathBuf {
        self.dir.path().join("state/objects.jsonl")
    }

    /// Follows it.
    pub async fn follow(&self) -> Following {
        self.follow_with(self.options()).await
    }

    pub async fn follow_with(&self, options: KubernetesOptions) -> Following {
        Following(Follower::start(options).await.unwrap())
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
        }
    }
}

impl Resource {
    fn tell(&mut self, version: u64, kind: &str, object: &Value) {
        let line = format!("{}\n", json!({"type": kind, "object": object}));
        self.log.push((version, line.clone()));
        self.send(&line);
    }

    fn send(&mut self, bytes: &str) {
        self.watchers.retain(|watcher| watcher.send(Ok(bytes.to_owned().into())).is_ok());
    }

    fn break_off(&mut self, bytes: &str) {
        for watcher in self.watchers.drain(..) {
            let _ = watcher.send(Ok(bytes.to_owned().into()));
            let _ = watcher.send(Err(io::Error::other("cut off")));
        }
    }
}

fn key(object: &Value) -> String {
    let text = |key: &str| object["metadata"][key].as_str().unwrap_or_default();
    format!("{}/{}", text("namespace"), text("name"))
}

fn versioned(mut object: Value, uid: &Value, version: u64) -> Value {
    object["metadata"]["uid"] = uid.clone();
    object["metadata"]["resourceVersion"] = json!(version.to_string());
    object
}

fn status(code: u16, reason: &str) -> Response {
    let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
                      "message": format!("refused with {code}"), "reason": reason});
    (StatusCode::from_u16(code).unwrap(), body.to_string()).into_response()
}

async fn record(State(shared): State<Arc<Shared>>, Json(event): Json<Value>) -> Response {
    let (refused, is_there) = {
        let mut known = shared.known.lock().unwrap();
        let is_there = known.events.iter().any(|before| key(before) == key(&event));
        known.events.push(event.clone());
        let is_on =
            |policy: &Option<String>| policy.as_ref().is_none_or(|name| event["regarding"]["name"] == **name);
        let refused =
            known.refuses_events.as_ref().filter(|(policy, _)| is_on(policy)).map(|(_, code)| *code);
        (refused, is_there)
    };
    shared.asked.notify_waiters();
    match refused {
        Some(code) => status(code, "Test"),
        None if is_there => status(409, "AlreadyExists"),
        None => (StatusCode::CREATED, event.to_string()).into_response(),
    }
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
    Query(asked): Query<BTreeMap<String, String>>,
) -> Response {
    let path = uri.path();
    if path == DISCOVERY {
        if shared.known.lock().unwrap().has_no_slices {
            return status(404, "Test");
        }
        let list = json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "discovery.k8s.io/v1",
            "resources": [{"name": "endpointslices", "singularName": "", "namespaced": true, "kind": "EndpointSlice",
                           "verbs": ["list", "watch"]}]});
        return list.to_string().into_response();
    }
    let response = if asked.contains_key("watch") {
        watch(&shared, path, &asked)
    } else {
        list(&shared, path, &asked).await
    };
    shared.asked.notify_waiters();
    response
}

async fn list(shared: &Shared, path: &str, asked: &BTreeMap<String, String>) -> Response {
    // What the first page was told to be asked for the second by: the key of its last object.
    let after = asked.get("continue");
    let (held, has_pages) = {
        let mut known = shared.known.lock().unwrap();
        if path == SLICES && known.has_no_slices {
            return status(404, "Test");
        }
        let Some(resource) = known.resources.get_mut(path) else { return status(404, "Test") };
        resource.lists += 1;
        if let Some(code) = resource.refused {
            return status(code, "Test");
        }
        (resource.is_held.clone(), resource.has_pages)
    };
    let is_first_of_two = has_pages && after.is_none();
    if let Some(held) = held.filter(|_| !is_first_of_two) {
        let released = held.notified();
        shared.asked.notify_waiters();
        released.await;
    }
    let known = shared.known.lock().unwrap();
    let objects = known.resources[path].objects.iter();
    let listed = objects.filter(|(key, _)| after.is_none_or(|after| *key > after));
    let listed: Vec<_> = listed.take(if is_first_of_two { 1 } else { usize::MAX }).collect();
    let mut metadata = json!({"resourceVersion": known.version.to_string()});
    if let Some((last, _)) = listed.last().filter(|_| is_first_of_two) {
        metadata["continue"] = json!(last);
    }
    let items: Vec<_> = listed.into_iter().map(|(_, object)| object).collect();
    json!({"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": items})
        .to_string()
        .into_response()
}

fn watch(shared: &Shared, path: &str, asked: &BTreeMap<String, String>) -> Response {
    let from: u64 = asked["resourceVersion"].parse().unwrap();
    let known = &mut *shared.known.lock().unwrap();
    let Some(resource) = known.resources.get_mut(path) else { return status(404, "Test") };
    resource.watches += 1;
    if let Some(code) = resource.refused {
        return status(code, "Test");
    }
    let is_gone = from < resource.compacted;
    if is_gone && resource.gone_as_answer {
        return status(410, "Test");
    }
    let (sender, lines) = mpsc::unbounded_channel();
    if is_gone {
        let gone = json!({"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old",
                          "reason": "Expired", "status": "Failure"}});
        sender.send(Ok(format!("{gone}\n").into())).unwrap();
    } else if resource.stalls {
        // Held open by what never sends.
        let silent = futures::stream::pending::<io::Result<Bytes>>();
        return Body::from_stream(silent).into_response();
    } else {
        for (_, line) in resource.log.iter().filter(|(version, _)| *version > from) {
            sender.send(Ok(line.clone().into())).unwrap();
        }
        resource.watchers.push(sender);
    }
    let lines = futures::stream::unfold(lines, async |mut lines| Some((lines.recv().await?, lines)));
    Body::from_stream(lines.boxed()).into_response()
}

/// What follows it.
pub struct Following(pub Follower);

impl Following {
    /// The next state.
    pub async fn next(&mut self) -> Loaded {
        let update = timeout(LONG, self.0.next()).await.expect("an update").expect("it follows");
        update.loaded.expect("objects of an API server are never refused as a whole")
    }

    /// What was kept on disk, if anything that can be used was.
    pub async fn first(&mut self) -> Option<Loaded> {
        let first = timeout(LONG, self.0.first()).await.expect("nobody waits for the server");
        first.map(|update| update.loaded.unwrap())
    }

    /// States until one is so.
    pub async fn until(&mut self, what: &str, is_so: impl Fn(&Cluster) -> bool) -> Loaded {
        let mut seen = Vec::new();
        let found = timeout(LONG, async {
            loop {
                let loaded = self.0.next().await.expect("it follows").loaded.unwrap();
                if is_so(&loaded.cluster) {
                    return loaded;
                }
                seen.push(loaded.cluster);
            }
        });
        let found = found.await;
        found.unwrap_or_else(|_| panic!("{what}: not in {seen:#?}"))
    }

    /// That nothing is passed on for a while.
    pub async fn nothing(&mut self, what: &str) {
        if let Ok(update) = timeout(SHORT, self.0.next()).await {
            panic!("{what}: {update:#?}");
        }
    }

    pub fn status(&self) -> SourceStatus {
        self.0.handle().status()
    }

    /// Waits until its status is so.
    pub async fn until_status(&self, what: &str, is_so: impl Fn(&SourceStatus) -> bool) -> SourceStatus {
        let looking = async {
            loop {
                let status = self.status();
                if is_so(&status) {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(LONG, looking).await.unwrap_or_else(|_| panic!("{what}: {:#?}", self.status()))
    }
}

pub fn pod(name: &str, app: &str) -> Value {
    json!({
        "metadata": {"namespace": "x", "name": name, "labels": {"app": app}},
        "spec": {"nodeName": "n", "containers": [{"name": "c"}]},
        "status": {"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}]},
    })
}

pub fn policy(name: &str, spec: &Value) -> Value {
    json!({"metadata": {"namespace": "x", "name": name}, "spec": spec})
}

/// The names of the pods there are, in order.
pub fn names(cluster: &Cluster) -> Vec<&str> {
    cluster.pods().keys().map(|key| key.name.as_str()).collect()
}

/// The label `app` of a pod.
pub fn app<'a>(cluster: &'a Cluster, name: &str) -> Option<&'a str> {
    let pod = cluster.pods().values().find(|pod| pod.key.name == name)?;
    pod.labels.get("app").map(String::as_str)
}
