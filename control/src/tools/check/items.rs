//! One item or two: a dash more or less makes an "and" an "or".

use std::collections::BTreeSet;

use super::super::words;
use super::context::Site;
use super::{Code, Context, Finding, Level};
use crate::model::{NamespaceScope, ObjectKey, Peer, PodPeer, Selector};

/// PG006.
pub(super) fn check(context: &Context<'_>, findings: &mut Vec<Finding>) {
    for site in context.sites() {
        let peers = site.peers();
        for (at, peer) in peers.iter().enumerate() {
            let Peer::Pods(peer) = peer else { continue };
            if let Some((namespaces, pods)) = both(peer) {
                findings.extend(joined(context, site, at, namespaces, pods));
            }
            if let Some(Peer::Pods(next)) = peers.get(at + 1) {
                findings.extend(apart(context, site, at, peer, next));
            }
        }
    }
}

/// Both selectors, if the item has two that say anything.
fn both(peer: &PodPeer) -> Option<(&Selector, &Selector)> {
    match &peer.namespaces {
        NamespaceScope::Matching(namespaces)
            if *namespaces != Selector::everything() && peer.pods != Selector::everything() =>
        {
            Some((namespaces, &peer.pods))
        }
        _ => None,
    }
}

/// An item with both.
fn joined(
    context: &Context<'_>,
    site: Site<'_>,
    at: usize,
    namespaces: &Selector,
    pods: &Selector,
) -> Option<Finding> {
    let Readings { one, two, one_words, two_words } = readings(context, site, namespaces, pods)?;
    let message = format!("one item: allows {one_words} ({})", counted(&one));
    let help = format!("in two items it would allow {two_words} ({})", counted(&two));
    let kind = (Code::ONE_ITEM_OR_TWO, Level::Info);
    Some(context.about(site.policy, &site.peer_field(at), kind, message, help))
}

/// Two items next to each other, each with one.
fn apart(
    context: &Context<'_>,
    site: Site<'_>,
    at: usize,
    first: &PodPeer,
    second: &PodPeer,
) -> Option<Finding> {
    // With `podSelector: {}` beside it, a namespaceSelector is where it was meant to be.
    let alone = |peer: &PodPeer, at: usize| {
        let pods = format!("{}.podSelector", site.peer_field(at));
        peer.pods == Selector::everything() && !context.is_written(site.policy, &pods)
    };
    let (namespaces, pods) = match (&first.namespaces, &second.namespaces) {
        (NamespaceScope::Matching(namespaces), NamespaceScope::Own) if alone(first, at) => {
            (namespaces, &second.pods)
        }
        (NamespaceScope::Own, NamespaceScope::Matching(namespaces)) if alone(second, at + 1) => {
            (namespaces, &first.pods)
        }
        _ => return None,
    };
    // `{}` is written on purpose: every pod, or every namespace.
    if *pods == Selector::everything() || *namespaces == Selector::everything() {
        return None;
    }
    let Readings { one, two, one_words, two_words } = readings(context, site, namespaces, pods)?;
    let message = format!("two items: allow {two_words} ({})", counted(&two));
    let help = format!(
        "if only {one_words} are meant ({}), make it one item: no dash before the second selector",
        counted(&one)
    );
    let kind = (Code::ONE_ITEM_OR_TWO, Level::Warning);
    Some(context.about(site.policy, &site.peer_field(at + 1), kind, message, help))
}

struct Readings {
    one: BTreeSet<ObjectKey>,
    two: BTreeSet<ObjectKey>,
    one_words: String,
    two_words: String,
}

/// What both readings match, if they differ on the pods that there are.
fn readings(
    context: &Context<'_>,
    site: Site<'_>,
    namespaces: &Selector,
    pods: &Selector,
) -> Option<Readings> {
    let own = &site.policy.key.namespace;
    let peer = |namespaces: NamespaceScope, pods: Selector| PodPeer { namespaces, pods };
    let matching = NamespaceScope::Matching(namespaces.clone());
    let joined = peer(matching.clone(), pods.clone());
    let apart = [peer(NamespaceScope::Own, pods.clone()), peer(matching, Selector::everything())];
    let keys = |peer: &PodPeer| context.peer_pods(peer, own).into_iter().map(|pod| pod.key.clone());
    let (one, two): (BTreeSet<_>, BTreeSet<_>) =
        (keys(&joined).collect(), apart.iter().flat_map(keys).collect());
    let two_words = format!("{}, and {}", words::pod_peer(&apart[0], own), words::pod_peer(&apart[1], own));
    (one != two).then(|| Readings { one, two, one_words: words::pod_peer(&joined, own), two_words })
}

fn counted(pods: &BTreeSet<ObjectKey>) -> String {
    let pods: Vec<&ObjectKey> = pods.iter().collect();
    words::some(&pods, "pod at present")
}
