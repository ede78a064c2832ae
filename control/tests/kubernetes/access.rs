//! Who we are, and where the server is.

use podgate_control::source::{Access, AccessError, Follower, KubernetesOptions};

use crate::fixture::Api;

#[tokio::test]
async fn a_kubeconfig_that_cannot_be_used_is_told_at_the_start() {
    let api = Api::away().await;
    let with = |file: &str, context: Option<&str>| {
        let file = Some(api.dir.path().join(file));
        let access = Access::Kubeconfig { file, context: context.map(str::to_owned) };
        KubernetesOptions { access, ..api.options() }
    };
    let missing = Follower::start(with("none", None)).await.unwrap_err();
    assert!(matches!(missing, AccessError::Kubeconfig { .. }), "{missing}");
    let expected = format!(
        "{}: the kubeconfig cannot be used: No such file or directory (os error 2); mend it, or name another file with \
         --kubeconfig or another context with --context",
        api.dir.path().join("none").display()
    );
    assert_eq!(missing.to_string(), expected);
    let context = Follower::start(with("kubeconfig", Some("elsewhere"))).await.unwrap_err();
    let told = context.to_string();
    assert!(told.contains("kubeconfig: the") && told.contains("it has no context \"elsewhere\""), "{told}");
    std::fs::write(api.dir.path().join("half"), "clusters: [\n").unwrap();
    let half = Follower::start(with("half", None)).await.unwrap_err().to_string();
    assert!(half.contains("half: the kubeconfig") && half.lines().count() == 1, "{half}");
    Follower::start(with("kubeconfig", Some("here"))).await.unwrap();
}
