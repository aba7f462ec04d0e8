//! The rows: what can be measured, in the order in which it is.

pub(crate) mod boot;
pub(crate) mod commits;
pub(crate) mod crowd;
pub(crate) mod egress;
pub(crate) mod followers;
pub(crate) mod raw;
pub(crate) mod recovery;
pub(crate) mod running;
pub(crate) mod sandbox;
pub(crate) mod throughput;
pub(crate) mod turns;

use crate::report::{Figure, Unit};
use crate::session::Lab;
use raw::Raw;

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Row {
    /// A text turn beyond the model's own time.
    Turn,
    /// A piece of text from the model to a follower.
    Delta,
    /// Five calls of bash in one turn.
    Tools,
    /// Durable turns per second.
    Throughput,
    /// A late turn of a session against an early one.
    Growth,
    /// SQL statements and commits of a turn.
    Commits,
    /// Start with many sessions in the database, and idle memory.
    Boot,
    /// Memory with many sessions in the middle of a turn.
    Running,
    /// From a kill to the next model call of the turn that was interrupted.
    Recovery,
    /// Many followers of one session.
    Followers,
    /// Tunnels, injected requests and streamed answers by egress, and without it.
    Egress,
    /// Sandboxes.
    Sandbox,
    /// Many sandboxes, living and parked. Takes some minutes.
    Crowd,
    /// The size of the binary.
    Binary,
}

impl Row {
    /// All of them.
    pub(crate) const ALL: [Self; 14] = [
        Self::Turn,
        Self::Delta,
        Self::Tools,
        Self::Throughput,
        Self::Growth,
        Self::Commits,
        Self::Boot,
        Self::Running,
        Self::Recovery,
        Self::Followers,
        Self::Egress,
        Self::Sandbox,
        Self::Crowd,
        Self::Binary,
    ];

    /// Measures it.
    pub(crate) async fn measure(self, lab: &mut Lab, raw: &Raw) -> anyhow::Result<Vec<Figure>> {
        match self {
            Self::Turn => turns::text(lab, raw).await,
            Self::Delta => turns::delta(lab, raw).await,
            Self::Tools => turns::tools(lab, raw).await,
            Self::Throughput => throughput::measure(lab, raw).await,
            Self::Growth => turns::growth(lab).await,
            Self::Commits => commits::measure(lab).await,
            Self::Boot => boot::measure(lab).await,
            Self::Running => running::measure(lab).await,
            Self::Recovery => recovery::measure(lab).await,
            Self::Followers => followers::measure(lab).await,
            Self::Egress => egress::measure(lab).await,
            Self::Sandbox => sandbox::measure(lab, raw).await,
            Self::Crowd => crowd::measure(lab).await,
            Self::Binary => binary(lab),
        }
    }
}

fn binary(lab: &Lab) -> anyhow::Result<Vec<Figure>> {
    let bytes = std::fs::metadata(&lab.plan.binary)?.len();
    let megabytes = f64::from(u32::try_from(bytes / 1_000)?) / 1_000.0;
    Ok(vec![Figure::new("binary", "size as built", megabytes, Unit::Megabytes).at_most(35.0)])
}
