//! The kinds that are read.

use std::borrow::Cow;

/// A kind of objects.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Kind {
    Namespace,
    Node,
    Pod,
    NetworkPolicy,
    Service,
    EndpointSlice,
    /// Only where the server has no EndpointSlices.
    Endpoints,
}

/// What a cluster is made of; EndpointSlices and Endpoints are two ways to tell the same.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Part {
    Namespaces,
    Nodes,
    Pods,
    Policies,
    Services,
    Endpoints,
}

impl Part {
    /// All of them, each at its [`Part::index`].
    pub(super) const ALL: [Self; 6] =
        [Self::Namespaces, Self::Nodes, Self::Pods, Self::Policies, Self::Services, Self::Endpoints];

    /// Its place in [`Part::ALL`].
    pub(super) const fn index(self) -> usize {
        self as usize
    }

    /// What it is read from, but for [`Kind::Endpoints`].
    pub(super) const fn kind(self) -> Kind {
        match self {
            Self::Namespaces => Kind::Namespace,
            Self::Nodes => Kind::Node,
            Self::Pods => Kind::Pod,
            Self::Policies => Kind::NetworkPolicy,
            Self::Services => Kind::Service,
            Self::Endpoints => Kind::EndpointSlice,
        }
    }
}

impl Kind {
    /// All of them.
    pub(super) const ALL: [Self; 7] = [
        Self::Namespace,
        Self::Node,
        Self::Pod,
        Self::NetworkPolicy,
        Self::Service,
        Self::EndpointSlice,
        Self::Endpoints,
    ];

    /// What it tells.
    pub(super) const fn part(self) -> Part {
        match self {
            Self::Namespace => Part::Namespaces,
            Self::Node => Part::Nodes,
            Self::Pod => Part::Pods,
            Self::NetworkPolicy => Part::Policies,
            Self::Service => Part::Services,
            Self::EndpointSlice | Self::Endpoints => Part::Endpoints,
        }
    }

    /// As objects name it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Namespace => "Namespace",
            Self::Node => "Node",
            Self::Pod => "Pod",
            Self::NetworkPolicy => "NetworkPolicy",
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::Endpoints => "Endpoints",
        }
    }

    /// From [`Kind::name`].
    pub(super) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// As objects name it.
    pub(super) const fn api_version(self) -> &'static str {
        match self {
            Self::NetworkPolicy => "networking.k8s.io/v1",
            Self::EndpointSlice => "discovery.k8s.io/v1",
            _ => "v1",
        }
    }

    const fn group(self) -> &'static str {
        match self {
            Self::NetworkPolicy => "networking.k8s.io",
            Self::EndpointSlice => "discovery.k8s.io",
            _ => "",
        }
    }

    const fn plural(self) -> &'static str {
        match self {
            Self::Namespace => "namespaces",
            Self::Node => "nodes",
            Self::Pod => "pods",
            Self::NetworkPolicy => "networkpolicies",
            Self::Service => "services",
            Self::EndpointSlice => "endpointslices",
            Self::Endpoints => "endpoints",
        }
    }

    /// As RBAC names it: `networkpolicies.networking.k8s.io`.
    pub(super) fn resource(self) -> String {
        match self.group() {
            "" => self.plural().to_owned(),
            group => format!("{}.{group}", self.plural()),
        }
    }

    /// The kind whose objects of all namespaces are at `path`.
    pub(super) fn at_path(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| {
            let root = if kind.group().is_empty() { "/api/" } else { "/apis/" };
            let rest = path.strip_prefix(root).and_then(|rest| rest.strip_prefix(kind.api_version()));
            rest.and_then(|rest| rest.strip_prefix('/')) == Some(kind.plural())
        })
    }
}

impl kube::Resource for super::received::Received {
    type DynamicType = Kind;
    type Scope = kube::core::DynamicResourceScope;

    fn kind(kind: &Kind) -> Cow<'_, str> {
        kind.name().into()
    }

    fn group(kind: &Kind) -> Cow<'_, str> {
        kind.group().into()
    }

    fn version(_: &Kind) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural(kind: &Kind) -> Cow<'_, str> {
        kind.plural().into()
    }

    fn meta(&self) -> &kube::core::ObjectMeta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut kube::core::ObjectMeta {
        &mut self.meta
    }
}

#[cfg(test)]
mod tests {
    use kube::Resource;

    use super::super::received::Received;
    use super::*;

    #[test]
    fn every_kind_is_found_by_the_path_that_it_is_asked_for_at() {
        for kind in Kind::ALL {
            assert_eq!(Kind::at_path(&Received::url_path(&kind, None)), Some(kind));
            assert_eq!(Kind::from_name(kind.name()), Some(kind));
        }
        assert_eq!(Kind::at_path("/api/v1/namespaces/x/pods"), None);
        assert_eq!(Kind::EndpointSlice.resource(), "endpointslices.discovery.k8s.io");
        for (place, part) in Part::ALL.into_iter().enumerate() {
            assert_eq!((part.index(), part.kind().part()), (place, part));
        }
    }
}
