//! What podgate-cni asks of the gateway.
//!
//! | path | body | answer |
//! |---|---|---|
//! | `POST /v1/cni/add` | an [`Attachment`] | a [`CniAnswer`], once its port is guarded |
//! | `POST /v1/cni/check` | an [`Attachment`] | a [`CniAnswer`] |
//! | `POST /v1/cni/del` | an [`AttachmentName`] | a [`Forgotten`] |
//! | `POST /v1/cni/gc` | [`ValidAttachments`] | a [`Forgotten`] |
//! | `GET /v1/cni/status` | | [`CniReadiness`] |

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use hyper::Method;
use serde::{Deserialize, Serialize};

use super::{Client, ClientError};
use crate::agent::{Door, Gateway, Question};

/// What names an attachment, by the CNI specification.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct AttachmentName {
    /// The network.
    pub network: String,
    /// The container, by the runtime's name for it.
    pub container_id: String,
    /// The interface in it.
    pub interface: String,
}

/// A container's interface, as the runtime tells of it through podgate-cni.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Attachment {
    /// What names it.
    #[serde(flatten)]
    pub name: AttachmentName,
    /// The container's network namespace, as the runtime named it.
    pub netns: String,
    /// `namespace/name` of the pod; absent where the runtime names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// The pod's UID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// The addresses that it was given.
    pub addresses: Vec<IpAddr>,
    /// Name of the device outside that leads to it.
    pub device: String,
    /// Its index.
    pub device_index: u32,
    /// Index of the container's interface, in its own namespace.
    pub peer_index: u32,
    /// The number by which the gateway's namespace knows that one.
    pub netns_number: i32,
}

/// Why an interface is not guarded, or not as it should be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CniRefusal {
    /// Its device is none that this gateway guards.
    NoPort,
    /// It should be guarded, and could not be.
    NotGuarded,
    /// It is guarded, but another one than was told, or changed since.
    Differs,
}

/// What became of an attachment.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum CniAnswer {
    /// Every frame of it is judged from here on.
    Guarded {
        /// The device.
        device: String,
        /// Its number on the trunk.
        port: u16,
        /// The pod whose policy is in force there; while there is none, nothing passes.
        pod: Option<String>,
    },
    /// It is not as it has to be.
    Refused {
        /// Why.
        refusal: CniRefusal,
        /// In a sentence.
        reason: String,
    },
}

/// The attachments of a network that there are.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ValidAttachments {
    /// The network.
    pub network: String,
    /// Container and interface of each.
    pub valid: Vec<(String, String)>,
}

/// How many attachments were forgotten.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Forgotten {
    /// So many.
    pub attachments: usize,
}

/// Whether a pod could be added now.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CniReadiness {
    /// Why not, if it could not.
    pub not_ready: Option<String>,
}

impl Client {
    /// Tells of an interface that was made; answered when its port is guarded.
    pub async fn cni_add(&self, attachment: &Attachment) -> Result<CniAnswer, ClientError> {
        self.say(Method::POST, "/v1/cni/add", attachment).await
    }

    /// Asks whether it is still so.
    pub async fn cni_check(&self, attachment: &Attachment) -> Result<CniAnswer, ClientError> {
        self.say(Method::POST, "/v1/cni/check", attachment).await
    }

    /// Tells of an interface that goes.
    pub async fn cni_del(&self, name: &AttachmentName) -> Result<Forgotten, ClientError> {
        self.say(Method::POST, "/v1/cni/del", name).await
    }

    /// Tells of all interfaces of a network that there are.
    pub async fn cni_gc(&self, valid: &ValidAttachments) -> Result<Forgotten, ClientError> {
        self.say(Method::POST, "/v1/cni/gc", valid).await
    }

    /// Asks whether one could be added.
    pub async fn cni_status(&self) -> Result<CniReadiness, ClientError> {
        self.say(Method::GET, "/v1/cni/status", &()).await
    }
}

/// The paths above.
pub(super) fn routes(gateway: Arc<Gateway>, door: Door) -> Router {
    let asked = Router::new().route("/v1/cni/add", post(add)).route("/v1/cni/check", post(check));
    let told = Router::new()
        .route("/v1/cni/del", post(del))
        .route("/v1/cni/gc", post(gc))
        .route("/v1/cni/status", get(status));
    asked.with_state(door).merge(told.with_state(gateway))
}

async fn add(State(door): State<Door>, Json(attachment): Json<Attachment>) -> Json<CniAnswer> {
    Json(door.ask(Question::Add(attachment)).await)
}

async fn check(State(door): State<Door>, Json(attachment): Json<Attachment>) -> Json<CniAnswer> {
    Json(door.ask(Question::Check(attachment)).await)
}

async fn del(State(gateway): State<Arc<Gateway>>, Json(name): Json<AttachmentName>) -> Json<Forgotten> {
    Json(Forgotten { attachments: gateway.forget_attachment(&name) })
}

async fn gc(State(gateway): State<Arc<Gateway>>, Json(there): Json<ValidAttachments>) -> Json<Forgotten> {
    Json(Forgotten { attachments: gateway.forget_all_but(&there) })
}

async fn status(State(gateway): State<Arc<Gateway>>) -> Json<CniReadiness> {
    Json(CniReadiness { not_ready: gateway.why_not_ready() })
}
