//! The fence: a default-deny rule in the kernel for pods' veths that are not guarded.
//!
//! Guarded ports are closed by their own programs, whether a gateway runs or not. A veth that comes
//! while none runs, or that the gateway has not heard of yet, has no program: the fence keeps it
//! closed both ways. It is an nft table of the instance's own, in force until it is removed.
//!
//! ```text
//! plan        what it closes, and what it leaves open
//! ruleset     the table, as nft's JSON
//! listing     what nft says is there
//! nft         the program that it is told to and read from
//! generation  whether anything of nft's has changed, asked of the kernel itself
//! ```
//!
//! Ports are known by number *and* name: a number alone may be given anew (a veth that is moved here
//! from a pod's namespace keeps the one it had there), a name alone, too.

mod generation;
mod listing;
mod nft;
mod plan;
mod ruleset;

use std::collections::BTreeSet;

use futures::future::{join, join_all};
use generation::Generation;
use listing::Found;
use nft::{NftError, apply, check, list};

pub use plan::{Bridged, Plan, Port};

/// Why the fence is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum FenceError {
    /// nft cannot be started.
    #[error(
        "cannot start nft ({reason}), which closes new pods until they are guarded; install nftables (Debian: \
         apt-get install nftables), or do without with --fence off: a new pod is then open for milliseconds, \
         and for as long as no gateway runs"
    )]
    NoNft {
        /// What the system said.
        reason: String,
    },
    /// The kernel has no nft for bridges.
    #[error(
        "this kernel does not take nft rules for {family} frames ({reason}), which close new pods until they are \
         guarded; use one with CONFIG_NF_TABLES_BRIDGE, CONFIG_NF_TABLES_INET and CONFIG_NF_TABLES_ARP and all their \
         modules, or do without with --fence off: a new pod is then open for milliseconds, and for as long as no \
         gateway runs"
    )]
    NoKernel {
        /// `bridge`, `inet` or `arp`.
        family: &'static str,
        /// What nft said.
        reason: String,
    },
    /// A change was refused.
    #[error("nft table {table}: cannot {what}: {reason}")]
    Refused {
        /// The table.
        table: String,
        /// What was to be done.
        what: &'static str,
        /// What nft said.
        reason: String,
    },
}

/// An instance's fence, up.
#[derive(Debug)]
pub struct Fence {
    plan: Plan,
    /// Guarded ports, and ports of other bridges where the kernel does not tell bridges apart.
    open: BTreeSet<Port>,
    /// The rules as nft tells them, when they were as they should be.
    rules: Found,
    generation: Generation,
    looked_at: Option<u32>,
}

/// What became of a change of the ports that pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Passed {
    /// The same ports as before: nothing was done.
    AsBefore,
    /// It is in force.
    Changed,
    /// The table was not as it should be, and was made anew.
    MadeAnew,
}

/// What a look at the fence has found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Look {
    /// Frames of ports that are not guarded, dropped since the table was last made.
    pub from_ports: u64,
    /// Frames to such ports, likewise.
    pub to_ports: u64,
    /// It was not as it should be.
    pub is_broken: bool,
}

impl Fence {
    /// What an instance's tables are called.
    pub fn table(instance: &str) -> String {
        format!("podgate_{instance}")
    }

    /// Whether a fence can be put up here. Whether the kernel tells bridges apart is noted in the plan.
    pub async fn probe(plan: &mut Plan) -> Result<(), FenceError> {
        let tells_bridges = |plan: &mut Plan, it_does| {
            plan.bridged.iter_mut().for_each(|bridged| bridged.kernel_tells_bridges = it_does);
        };
        // A gateway that starts again is waited for: both ways are asked about at once.
        tells_bridges(plan, false);
        let without = ruleset::whole(plan, &BTreeSet::new());
        tells_bridges(plan, true);
        let with = ruleset::whole(plan, &BTreeSet::new());
        let (with, without) = join(check(&with), check(&without)).await;
        if with.is_ok() {
            return Ok(());
        }
        tells_bridges(plan, false);
        if without.is_ok() {
            return Ok(());
        }
        for family in plan.families() {
            let told = check(&ruleset::of_family(plan, family, &BTreeSet::new())).await;
            told.map_err(|error| missing(error, family))?;
        }
        Ok(())
    }

    /// Whether a fence of that name is up, be it broken.
    pub async fn is_up(plan: &Plan) -> bool {
        for family in plan.families() {
            if list(family, &plan.table).await.is_ok() {
                return true;
            }
        }
        false
    }

    /// Puts it up, in the place of one that is there, in one step; `open` ports pass.
    pub async fn raise(plan: Plan, open: BTreeSet<Port>) -> Result<Self, FenceError> {
        let mut fence =
            Self { plan, open, rules: Found::default(), generation: Generation::new(), looked_at: None };
        fence.make().await?;
        Ok(fence)
    }

    /// Takes down the fence of that name. None there is no error.
    pub async fn remove(table: &str) -> Result<(), FenceError> {
        for family in plan::FAMILIES {
            match apply(&ruleset::removal(family, table)).await {
                Ok(()) => {}
                // A kernel without that family has no table in it.
                Err(NftError::Refused(reason)) if reason.contains("not supported") => {}
                Err(error) => return Err(refused(error, family, table, "remove it")),
            }
        }
        Ok(())
    }

    /// What it closes.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The ports that pass.
    pub fn open_ports(&self) -> &BTreeSet<Port> {
        &self.open
    }

    /// Lets exactly these ports pass from now on.
    pub async fn let_pass(&mut self, open: BTreeSet<Port>) -> Result<Passed, FenceError> {
        if open == self.open {
            return Ok(Passed::AsBefore);
        }
        let (gone, new): (Vec<_>, Vec<_>) =
            (self.open.difference(&open).collect(), open.difference(&self.open).collect());
        let before = self.generation.now();
        let changed = apply(&ruleset::exchange(&self.plan, &gone, &new)).await;
        self.open = open;
        if changed.is_err() {
            return self.make().await.map(|()| Passed::MadeAnew);
        }
        // Ours was the only change since the last look, or the next look is a close one.
        let after = self.generation.now();
        let is_next = before.is_some() && before.map(|before| before.wrapping_add(1)) == after;
        self.looked_at = after.filter(|_| is_next && before == self.looked_at);
        Ok(Passed::Changed)
    }

    /// Looks whether it is as it should be, unless nothing of nft's has changed since the last time.
    pub async fn look(&mut self) -> Option<Look> {
        let now = self.generation.now();
        if now.is_some() && now == self.looked_at {
            return None;
        }
        let look = self.look_closely().await;
        self.looked_at = now.filter(|_| !look.is_broken);
        Some(look)
    }

    /// The same, in any case.
    pub async fn look_closely(&self) -> Look {
        let Ok(found) = self.find().await else { return Look { is_broken: true, ..Look::default() } };
        let is_broken = !found.is_as(&self.rules, &self.open);
        Look { from_ports: found.dropped("from_ports"), to_ports: found.dropped("to_ports"), is_broken }
    }

    /// Makes it anew, in one step: at no instant is a fence that is there not there.
    pub async fn make(&mut self) -> Result<(), FenceError> {
        let all = ruleset::whole(&self.plan, &self.open);
        let table = self.plan.table.clone();
        apply(&all).await.map_err(|error| refused(error, "", &table, "put it up"))?;
        let now = self.generation.now();
        self.rules = self.find().await?;
        self.looked_at = now;
        Ok(())
    }

    async fn find(&self) -> Result<Found, FenceError> {
        let mut found = Found::default();
        let all = join_all(self.plan.families().map(|family| list(family, &self.plan.table))).await;
        for (family, listed) in self.plan.families().zip(all) {
            let listed = listed.map_err(|error| refused(error, family, &self.plan.table, "read it"))?;
            found.add(&listed).map_err(|reason| FenceError::Refused {
                table: format!("{family} {}", self.plan.table),
                what: "read it",
                reason,
            })?;
        }
        Ok(found)
    }
}

fn missing(error: NftError, family: &'static str) -> FenceError {
    match error {
        NftError::NotStarted(source) => FenceError::NoNft { reason: source.to_string() },
        NftError::Refused(reason) => FenceError::NoKernel { family, reason },
    }
}

fn refused(error: NftError, family: &str, table: &str, what: &'static str) -> FenceError {
    match error {
        NftError::NotStarted(source) => FenceError::NoNft { reason: source.to_string() },
        NftError::Refused(reason) => {
            FenceError::Refused { table: format!("{family} {table}").trim_start().to_owned(), what, reason }
        }
    }
}
