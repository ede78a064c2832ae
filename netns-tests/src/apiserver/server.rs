//! The API server and its etcd.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::panicking;
use std::time::Duration;

use tempfile::TempDir;

use super::Client;
use crate::space::finish;
use crate::{Node, Space, wait_until};

/// How long either may take to be ready: some seconds on a machine with nothing else to do.
const READY_WITHIN: Duration = Duration::from_secs(90);
const ETCD_PORT: u16 = 2379;
const PORT: u16 = 6443;
/// Who may do everything.
const ADMIN: &str = "admin-of-the-test";
/// Who may do what podgate may in a cluster.
const READER: &str = "podgate-of-the-test";

/// A running API server. Dropping it ends it and its etcd.
#[derive(Debug)]
pub struct ApiServer {
    netns: PathBuf,
    dir: TempDir,
    etcd: Option<Child>,
    server: Option<Child>,
    client: Option<Client>,
}

impl ApiServer {
    /// Starts on the loopback of `node`; returns when it is ready, with the role of `deploy/` in place, and an
    /// account for podgate that has it.
    #[track_caller]
    pub fn start(node: &Space) -> Self {
        let dir = tempfile::Builder::new().prefix("podgate-api-").tempdir().expect("a directory");
        let netns = node.netns().path().to_owned();
        let mut api = Self { netns, dir, etcd: None, server: None, client: None };
        let key = api.path("accounts.key");
        let made = finish(Command::new("openssl").args(["genrsa", "-out"]).arg(&key).arg("2048"));
        assert_eq!(made.code, 0, "openssl (package openssl): {}", made.stderr);
        let tokens = format!("{ADMIN},admin,admin,system:masters\n{READER},podgate,podgate\n");
        fs::write(api.path("tokens.csv"), tokens).expect("a file");
        let etcd = api.spawn("etcd", &api.etcd_arguments());
        Self::wait_for_port(node, ETCD_PORT, api.etcd.insert(etcd));
        api.launch(node);
        let role = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/kustomize/base/clusterrole.yaml");
        api.client().apply(&fs::read_to_string(role).expect("the role"));
        api.client().apply(READER_MAY);
        api
    }

    /// Runs the server, again if it has ended; returns when it is ready.
    #[track_caller]
    pub fn launch(&mut self, node: &Space) {
        assert!(self.server.is_none(), "it runs already");
        let server = self.spawn("kube-apiserver", &self.server_arguments());
        Self::wait_for_port(node, PORT, self.server.insert(server));
        let client = Client::new(&self.netns, &self.kubeconfig("admin", ADMIN));
        wait_until("the API server is ready", READY_WITHIN, || client.is_ready());
        self.client = Some(client);
    }

    /// Ends the server, without ceremony: told to end, it would wait a minute for its watches to. etcd keeps
    /// what there is.
    #[track_caller]
    pub fn end(&mut self) {
        self.client = None;
        let mut child = self.server.take().expect("it runs");
        child.kill().expect("our child");
        child.wait().expect("our child");
    }

    /// Lets nothing more pass between the server and anybody: connections stay open, and silent.
    #[track_caller]
    pub fn cut_off(&self, node: &Space) {
        node.sh("nft add table inet cut");
        node.sh("nft add chain inet cut input { type filter hook input priority 0 ; }");
        node.sh(&format!("nft add rule inet cut input tcp dport {PORT} drop"));
        node.sh(&format!("nft add rule inet cut input tcp sport {PORT} drop"));
    }

    /// Undoes [`ApiServer::cut_off`].
    #[track_caller]
    pub fn mend(&self, node: &Space) {
        node.sh("nft delete table inet cut");
    }

    /// What a user does.
    #[track_caller]
    pub fn client(&self) -> &Client {
        self.client.as_ref().expect("it runs")
    }

    /// Where it listens, on the node's loopback.
    pub const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), PORT);

    /// Who vouches for it.
    pub fn certificate(&self) -> PathBuf {
        // It has signed its own certificate, and keeps who signed it in the same file.
        self.path("certs/apiserver.crt")
    }

    /// A kubeconfig for podgate: it may do what the role of `deploy/` says, and nothing else.
    pub fn reader(&self) -> PathBuf {
        self.kubeconfig("podgate", READER)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn kubeconfig(&self, name: &str, token: &str) -> PathBuf {
        let path = self.path(&format!("{name}.kubeconfig"));
        let server = format!("https://{}", Self::ADDRESS);
        let cluster = serde_json::json!({"server": server, "certificate-authority": self.certificate()});
        let kubeconfig = serde_json::json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "here",
            "clusters": [{"name": "here", "cluster": cluster}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": name}}],
            "users": [{"name": name, "user": {"token": token}}],
        });
        fs::write(&path, kubeconfig.to_string()).expect("a file");
        path
    }

    fn etcd_arguments(&self) -> Vec<String> {
        let at = |port| format!("http://127.0.0.1:{port}");
        let data = self.path("etcd").display().to_string();
        [
            ("data-dir", data),
            ("listen-client-urls", at(ETCD_PORT)),
            ("advertise-client-urls", at(ETCD_PORT)),
            ("listen-peer-urls", at(ETCD_PORT + 1)),
            ("initial-advertise-peer-urls", at(ETCD_PORT + 1)),
            ("initial-cluster", format!("default={}", at(ETCD_PORT + 1))),
            ("unsafe-no-fsync", "true".into()),
        ]
        .map(|(name, value)| format!("--{name}={value}"))
        .into()
    }

    fn server_arguments(&self) -> Vec<String> {
        let file = |name: &str| self.path(name).display().to_string();
        [
            ("etcd-servers", format!("http://127.0.0.1:{ETCD_PORT}")),
            ("bind-address", "127.0.0.1".into()),
            ("secure-port", PORT.to_string()),
            // It is told to nobody, but may not be a loopback's.
            ("advertise-address", Node::V4.to_string()),
            ("endpoint-reconciler-type", "none".into()),
            ("cert-dir", file("certs")),
            ("token-auth-file", file("tokens.csv")),
            ("authorization-mode", "RBAC".into()),
            ("service-account-issuer", "https://kubernetes.default.svc".into()),
            ("service-account-signing-key-file", file("accounts.key")),
            ("service-account-key-file", file("accounts.key")),
            ("service-cluster-ip-range", "10.96.0.0/16".into()),
            // There is no controller that makes accounts for pods.
            ("disable-admission-plugins", "ServiceAccount".into()),
        ]
        .map(|(name, value)| format!("--{name}={value}"))
        .into()
    }

    #[track_caller]
    fn spawn(&self, program: &str, arguments: &[String]) -> Child {
        let binary = assets().join(program);
        assert!(binary.exists(), "{} is missing: run scripts/apiserver", binary.display());
        let log = File::options().create(true).append(true).open(self.path(&format!("{program}.log")));
        let log = log.expect("a log");
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.netns.display())).arg("--").arg(binary).args(arguments);
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a log")).stderr(log);
        command.spawn().expect("nsenter (package util-linux)")
    }

    #[track_caller]
    fn wait_for_port(node: &Space, port: u16, child: &mut Child) {
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        wait_until(&format!("something listens on port {port}"), READY_WITHIN, || {
            assert!(
                child.try_wait().expect("our child").is_none(),
                "what was to listen on port {port} has ended"
            );
            node.run(|| TcpStream::connect_timeout(&at, Duration::from_secs(1))).is_ok()
        });
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        for child in [&mut self.server, &mut self.etcd].into_iter().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if panicking() {
            for program in ["kube-apiserver", "etcd"] {
                let log = fs::read_to_string(self.path(&format!("{program}.log"))).unwrap_or_default();
                let lines: Vec<&str> = log.lines().collect();
                eprintln!(
                    "--- the last that {program} wrote:\n{}",
                    lines[lines.len().saturating_sub(20)..].join("\n")
                );
            }
        }
    }
}

/// Where the programs are.
fn assets() -> PathBuf {
    if let Some(given) = std::env::var_os("KUBEBUILDER_ASSETS") {
        return given.into();
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/apiserver");
    let finished = finish(Command::new(script).arg("--where"));
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    finished.stdout.trim().into()
}

/// podgate's account has the role of `deploy/`, and no other.
const READER_MAY: &str = "
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: podgate-of-the-test}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: podgate}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: podgate}]
";
