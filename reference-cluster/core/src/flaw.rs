//! Mistakes that an implementation of the strategies can make, to be planted one at a time.
//!
//! A check counts only after it has noticed what it is there for. No option of an experiment leads
//! here: a node has a flaw only when whoever builds it says so, and only where the feature `flaws`
//! is compiled in. Without it [`Planted::has`] is a constant `false`, and the checks compile to
//! nothing.
//!
//! Invariant: a node without a flaw behaves the same with the feature and without.

/// The enum, its names and its descriptions from one list.
macro_rules! flaws {
    ($($(#[doc = $about:literal])+ $flaw:ident = $name:literal,)+) => {
        /// One mistake. The documentation says what is done wrong, where, and what breaks by it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Flaw {
            $($(#[doc = $about])+ $flaw,)+
        }

        impl Flaw {
            /// All of them.
            pub const ALL: &[Flaw] = &[$(Flaw::$flaw),+];

            /// The name by which it is asked for.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Flaw::$flaw => $name,)+
                }
            }

            /// What is done wrong, where, and what breaks by it.
            pub fn about(self) -> &'static str {
                let text = match self {
                    $(Flaw::$flaw => concat!($($about),+),)+
                };
                text.trim_start()
            }

            /// The one of this name.
            pub fn named(name: &str) -> Option<Flaw> {
                Flaw::ALL.iter().copied().find(|flaw| flaw.name() == name)
            }
        }
    };
}

flaws! {
    /// detector/heartbeats: a sign of life counts from when it was sent, not from when it came; whoever
    /// is slow to be heard is suspected early.
    EvidenceFromSend = "evidence-from-send",
    /// detector/heartbeats: a peer's heartbeat counts although the ACK was asked for; a deaf node is
    /// never suspected.
    AckNotRequired = "ack-not-required",
    /// detector/heartbeats: who was suspected once stays so, whatever is heard of it.
    SuspicionNeverWithdrawn = "suspicion-never-withdrawn",
    /// detector/heartbeats: a node that was stopped takes its own silence for its peers'.
    OwnPauseUnnoticed = "own-pause-unnoticed",
    /// detector/phi_accrual: only the newest arrival is remembered, so that nothing is learnt of
    /// how uneven arrivals are.
    PhiForgetsWindow = "phi-forgets-window",
    /// detector/progress_probe: every heartbeat counts as progress of the disk; a hung disk is
    /// never noticed.
    ProgressAssumed = "progress-assumed",
    /// detector/connection_close: a silent connection is never made to speak; a host that vanished
    /// is never noticed.
    NeverKeepsAlive = "never-keeps-alive",
    /// detector/connection_close: a connection that the own kernel gave up counts as closed by the
    /// peer; a partition looks like a death.
    TimeoutsAreFarewells = "timeouts-are-farewells",
    /// detector/swim: nobody else is asked about a member that did not answer; one bad link makes
    /// suspects.
    NobodyElseAsked = "nobody-else-asked",
    /// detector/swim: what is heard is not told on; most members find out late, each by itself.
    HearsayNotTold = "hearsay-not-told",
    /// detector/swim: who is accused objects with the incarnation that was accused; nobody believes
    /// it.
    ObjectsInVain = "objects-in-vain",
    /// detector/swim: claims about older incarnations are believed; an accusation that was refuted
    /// kills all the same.
    StaleClaimsBelieved = "stale-claims-believed",
    /// detector/swim: who hears nothing does not doubt itself; a slow member suspects everybody.
    AwarenessIgnored = "awareness-ignored",
    /// detector/swim: confirmations do not shorten the time to object; a death is noticed late.
    DogpileIgnored = "dogpile-ignored",
    /// detector/swim: a suspect is pinged without being told; it objects only once gossip reaches
    /// it.
    BuddySilent = "buddy-silent",
    /// recovery_log/redo and server_log: what is written counts as durable before the disk has said
    /// so; what was acknowledged dies with the host.
    AcknowledgesBeforeSync = "acknowledges-before-sync",
    /// node: replay leaves out the last entry of the log; what was acknowledged is lost at a
    /// restart.
    ReplayStopsEarly = "replay-stops-early",
    /// node: the torn tail of a log is not cut; what is appended behind it cannot be read.
    TornTailKept = "torn-tail-kept",
    /// recovery_log/redo: a checkpoint begins the new log without the last of the records that
    /// belong into it.
    CheckpointDropsRecord = "checkpoint-drops-record",
    /// recovery_log/undo_redo: a checkpoint with effects of operations in flight goes to the disk
    /// before what they found; a host that dies in between has nothing to roll back with.
    StealsUnlogged = "steals-unlogged",
    /// recovery_log/rollback: effects of operations in flight stay in the state at a restart.
    UndoSkipped = "undo-skipped",
    /// recovery_log/rollback: operations in flight are rolled back oldest first; where two changed
    /// the same, the younger one's before-image stays.
    UndoesForwards = "undoes-forwards",
    /// node's disk, of the simulated world alone: the folder is not synced after a rename; a host that
    /// dies finds the checkpoint and the log of before.
    FolderUnsynced = "folder-unsynced",
    /// replication/replica: a promise is not written down; after a restart the node may promise the
    /// same epoch again.
    ForgetsPromise = "forgets-promise",
    /// replication/takeover: a promise is sent before it is durable; a host that dies forgets it.
    PromisesBeforeSync = "promises-before-sync",
    /// replication/takeover: a node promises an epoch to whoever asks, also when it has promised it
    /// to another.
    PromisesTwice = "promises-twice",
    /// replication/takeover and raft/election: a candidate's own promise is enough; whoever is cut
    /// off becomes a primary.
    TakesOverAlone = "takes-over-alone",
    /// replication/takeover: logs are compared by length alone; a long tail that nobody
    /// acknowledged erases what a majority did.
    ComparesLengthAlone = "compares-length-alone",
    /// replication/takeover and raft/election: whoever asks first may lead, however old its log.
    IgnoresLogs = "ignores-logs",
    /// replication/follower and raft/follower: a backup takes entries of an older epoch.
    FencingSkipped = "fencing-skipped",
    /// replication/follower and raft/follower: a divergent tail stays, and counts as the primary's.
    DivergentTailKept = "divergent-tail-kept",
    /// replication/follower and raft/follower: a backup commits as far as it is told to, also what
    /// the primary has not confirmed of its log.
    CommitsUnmatched = "commits-unmatched",
    /// replication/leader and raft/leader: what the primary has on disk counts as committed.
    CommitsBeforeMajority = "commits-before-majority",
    /// replication/leader and raft/leader: entries of older epochs are committed by counting who
    /// has them (figure 8 of the Raft paper). A new leader of raft appends no entry of its own
    /// besides: with one in the same message the mistake would stay hidden.
    CommitsOldTerms = "commits-old-terms",
    /// replication/leader and raft/leader: a whole state goes out without the epoch of its last
    /// entry.
    SnapshotWithoutEpoch = "snapshot-without-epoch",
    /// replication/semi_sync: a primary never waits for a backup.
    SemiSyncNeverWaits = "semi-sync-never-waits",
    /// replication/reads and raft/reads: read-index asks nobody; a deposed primary answers with the
    /// past.
    ReadsUnconfirmed = "reads-unconfirmed",
    /// replication/lease: a primary counts its lease from when the answer came, which is after the
    /// backup began to count.
    LeaseFromReceipt = "lease-from-receipt",
    /// replication/lease: nobody waits for what it granted; a new primary begins while the old one
    /// still serves.
    LeaseNotAwaited = "lease-not-awaited",
    /// replication/requests and raft/requests: a write that was under way when the role was lost is
    /// answered with "not done"; it may be done all the same.
    DeniesWhatMayBe = "denies-what-may-be",
    /// store: a transfer whose id was carried out is carried out again.
    TransfersTwice = "transfers-twice",
    /// chain/server: a head acknowledges what it has on disk itself, before the tail has it.
    AcknowledgesBeforeTail = "acknowledges-before-tail",
    /// chain/reads: a tail answers reads before it has applied what was acknowledged, after a
    /// restart with the past.
    ReadsIgnoreIndex = "reads-ignore-index",
    /// snapshot/marker: what channels hold is not recorded; after going back the money on its way is
    /// gone.
    ChannelsNotRecorded = "channels-not-recorded",
    /// snapshot/marker: a node records its accounts at the last marker, not at the first; money
    /// counts twice.
    RecordsAtLastMarker = "records-at-last-marker",
    /// snapshot/recovery: only the node that restarted goes back; the others remember what it forgot.
    RollsBackAlone = "rolls-back-alone",
    /// server_log: a vote is not written down: after a restart the server may vote again in the same
    /// term.
    ForgetsVote = "forgets-vote",
    /// raft/heartbeat: a leader without a majority stays one in spite of `check_quorum`.
    QuorumUnchecked = "quorum-unchecked",
    /// raft/election: a server that hears its leader says yes to whoever asks before standing, and
    /// votes for it.
    NoLoyalty = "no-loyalty",
    /// raft/election: timeouts are not drawn; all servers stand at once.
    TimeoutsNotDrawn = "timeouts-not-drawn",
    /// balancing/pool: as many backends are ejected as fail; the cap counts for nothing.
    EjectsWithoutCap = "ejects-without-cap",
    /// balancing/pool: what the failure detector says is not listened to.
    HealthUnheard = "health-unheard",
    /// balancing/budget: a retry budget grants every retry; overload does not end with its cause.
    BudgetIgnored = "budget-ignored",
    /// balancing/picker: by key, nobody looks at the bound; the backend of a hot key is overloaded.
    BoundIgnored = "bound-ignored",
    /// balancing/balancer: nothing is hedged; a slow backend is felt by all.
    NeverHedges = "never-hedges",
    /// balancing/requests: the attempt that lost is not called off; its work is done for nobody.
    HedgesNotCancelled = "hedges-not-cancelled",
    /// balancing/balancer: an answer to the process before is taken for an answer to this one.
    TakesOldAnswers = "takes-old-answers",
    /// balancing/backend: who has stopped waiting is served all the same.
    ShedsNothing = "sheds-nothing",
    /// automation/restarts: attempts are counted and never too many; a node that dies at every start
    /// is started for ever and never replaced.
    CrashLoopEndless = "crash-loop-endless",
    /// replication/membership: what the log says about voters is forgotten at a restart: the node
    /// counts the first voters again.
    ForgetsVoters = "forgets-voters",
    /// replication/swap: the spare takes the lost node's place in one step; majorities of before and
    /// after need not share a member.
    SwapsInOneStep = "swaps-in-one-step",
    /// replication/swap: a spare votes before it has caught up; writes wait for it meanwhile.
    SpareVotesEarly = "spare-votes-early",
    /// transactions/participant: YES is sent before the promise is durable; a host that dies forgets
    /// it, and the others commit.
    VotesBeforeSync = "votes-before-sync",
    /// transactions/coordinator: the decision to commit is not written down; a coordinator that
    /// comes back presumes abort.
    DecisionNotWritten = "decision-not-written",
    /// transactions/coordinator: the first YES is enough.
    DecidesOnFirstVote = "decides-on-first-vote",
    /// transactions/participant: a coordinator that is asked about a transaction it does not know
    /// presumes that it was committed.
    PresumesCommit = "presumes-commit",
    /// transactions/doubt: promises that are read back from disk are kept without their locks.
    ForgetsLocks = "forgets-locks",
    /// transactions/takeover: whoever ends a transaction does not look at which votes are kept.
    TakeoverForgetsVotes = "takeover-forgets-votes",
    /// transactions/reads: a read of many accounts locks none of them.
    ReadsWithoutLocks = "reads-without-locks",
    /// transactions/saga: a coordinator that comes back does not take up the sagas that it had begun.
    SagasForgotten = "sagas-forgotten",
    /// transactions/best_effort: a step that was refused is done when it is asked for again, after its
    /// saga has ended.
    RefusalsForgotten = "refusals-forgotten",
    /// redundancy/coordinating: a write is acknowledged when one node holds it, whatever `w` says.
    CountsOneCopy = "counts-one-copy",
    /// redundancy/coordinating: a writer takes the next version from the first that answers; who has
    /// missed a write takes a version that is older than it.
    VersionFromOneCopy = "version-from-one-copy",
    /// redundancy/coordinating: a read returns what too few nodes hold, and sees to nothing.
    ReadsNotWrittenBack = "reads-not-written-back",
    /// redundancy/holding: what comes last stays, also when it is older.
    OlderOverwrites = "older-overwrites",
    /// redundancy/holding: shards of the version before go with the first of the next one, of which
    /// there may never be enough.
    OldShardsDropped = "old-shards-dropped",
    /// redundancy/holding: a node that let go of shards does not say so; who hears of them from too few
    /// others takes a version that is older still.
    RetirementUntold = "retirement-untold",
    /// redundancy/repairing: what is kept for a node that was away is never handed over.
    HintsNotDelivered = "hints-not-delivered",
    /// redundancy/notes: no checksum is looked at when copies are read back.
    DamageBelieved = "damage-believed",
    /// redundancy/comparing: what is found to differ stays as it is.
    DifferencesIgnored = "differences-ignored",
}

/// The mistake that a node makes, if any.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Planted(#[cfg(feature = "flaws")] Option<Flaw>);

impl Planted {
    /// True when it is this one.
    #[inline]
    pub fn has(self, flaw: Flaw) -> bool {
        #[cfg(feature = "flaws")]
        {
            asked::note(flaw);
            self.0 == Some(flaw)
        }
        #[cfg(not(feature = "flaws"))]
        {
            let _ = flaw;
            false
        }
    }
}

/// Which flaws' places this process has come by: a flaw at whose place nobody came can change
/// nothing.
#[cfg(feature = "flaws")]
mod asked {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::Flaw;

    static ASKED: [AtomicBool; Flaw::ALL.len()] =
        [const { AtomicBool::new(false) }; Flaw::ALL.len()];

    pub(super) fn note(flaw: Flaw) {
        let asked = &ASKED[flaw as usize];
        if !asked.load(Ordering::Relaxed) {
            asked.store(true, Ordering::Relaxed);
        }
    }

    impl Flaw {
        /// Those that any node of this process was asked for so far, in the order of [`Flaw::ALL`].
        pub fn asked() -> Vec<Flaw> {
            let was_asked = |flaw: &Flaw| ASKED[*flaw as usize].load(Ordering::Relaxed);
            Flaw::ALL.iter().copied().filter(was_asked).collect()
        }
    }
}

#[cfg(feature = "flaws")]
impl From<Option<Flaw>> for Planted {
    fn from(flaw: Option<Flaw>) -> Self {
        Planted(flaw)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flaw_has_a_name_of_its_own_and_is_found_by_it() {
        for flaw in Flaw::ALL {
            assert_eq!(Flaw::named(flaw.name()), Some(*flaw));
            assert!(flaw.about().contains(": "), "{} says where", flaw.name());
        }
        assert_eq!(Flaw::named("none of them"), None);
    }

    #[test]
    fn a_node_has_the_planted_flaw_and_no_other() {
        assert!(Flaw::ALL.iter().all(|flaw| !Planted::default().has(*flaw)));
        #[cfg(feature = "flaws")]
        {
            let planted = Planted::from(Some(Flaw::ForgetsVote));
            let had = Flaw::ALL.iter().filter(|flaw| planted.has(**flaw));
            assert_eq!(had.collect::<Vec<_>>(), [&Flaw::ForgetsVote]);
            assert!(Flaw::asked().contains(&Flaw::ForgetsVote));
        }
    }
}
