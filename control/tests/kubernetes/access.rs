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
    assert!(matches!(missing, AccessError::Kubeconfig(_)), "{missing}");
    assert!(missing.to_string().contains("--kubeconfig"), "{missing}");
    let context = Follower::start(with("kubeconfig", Some("elsewhere"))).await.unwrap_err();
    assert!(context.to_string().contains("elsewhere"), "{context}");
    Follower::start(with("kubeconfig", Some("here"))).await.unwrap();
}
