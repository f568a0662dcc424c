//! A state of the model: one slot, its replica, a few attempts, and what is remembered of the past
//! only so that invariants can be judged.
//!
//! Time is not in it. A lease is live or lapsed, a record expired or not, a deadline passed or not,
//! and each of these is a step that may be taken whenever the rules allow it.

/// The most attempts that a variant can have.
pub const MOST: usize = 3;

/// The number of an outcome: that of the attempt whose it is, or the operator's.
pub type OutcomeId = u8;
pub const OPERATOR: OutcomeId = 9;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct State {
    pub slot: Option<Kept>,
    /// What a fail-over would find.
    pub replica: Option<Kept>,
    pub tries: [Try; MOST],
    /// How many crashes and losses of records have happened.
    pub crashes: u8,
    pub losses: u8,
    pub clock_back: bool,
    /// What handlers have committed beside the records, and what a fail-over would find of it.
    pub rows: Rows,
    pub replica_rows: Rows,
    pub ghost: Ghost,
}

/// What a slot holds: a record without its times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Kept {
    pub owner: u8,
    pub odd: bool,
    pub token: u8,
    pub number: u8,
    pub phase: Phase,
    pub expired: bool,
    /// What the claim's handler has not committed did not happen.
    pub marked: bool,
    /// The place of the claim among all claims of the slot: what the token is to tell.
    pub order: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    Live,
    Lapsed,
    Completed(OutcomeId),
    Released,
}

/// The rows of a business table: how many, and by whom the last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rows {
    pub count: u8,
    pub last: u8,
}

/// One arriving request and the engine's work for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Try {
    pub step: Stage,
    /// Another body than the others.
    pub odd: bool,
    /// Copies of its calls that are under way; each may arrive any number of times.
    pub begins: bool,
    pub renews: bool,
    pub completes: bool,
    pub releases: bool,
    /// Those of them that were sent before the slot came to what it holds, which outlives them.
    pub aged: [bool; 4],
    /// Its mark is under way.
    pub marks: bool,
    /// It has a transaction with a row in it, the end of which may be under way, without the row.
    pub open: bool,
    pub commits: bool,
    pub refuses: bool,
    /// The deadline of its `begin` has passed.
    pub late: bool,
    /// A copy of `begin` of which nothing is known may be under way.
    pub lost: bool,
    /// The local deadline of its claim has not come (rule C3).
    pub live: bool,
    /// The claim, where it was told of one.
    pub token: u8,
    pub number: u8,
    pub order: u8,
    pub started: bool,
    /// Its run counts as one that may have effects.
    pub counted: bool,
    /// Its claim is from before the slot was free again by right.
    pub old: bool,
    pub crashed: bool,
    /// Its client has gone.
    pub gone: bool,
    /// The hook allowed it to take over this claim.
    pub rerun: Option<Asked>,
}

/// The claim that the hook was asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Asked {
    pub token: u8,
    pub number: u8,
    pub order: u8,
}

/// How far the engine is with a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Stage {
    #[default]
    Idle,
    /// Waits for the answer to `begin`.
    Asking,
    /// Has the claim; nothing runs yet.
    Granted,
    /// The claim may have lapsed: renews it before anything runs.
    Confirming,
    /// The handler runs and has done nothing yet.
    Running,
    /// The handler has had its effect.
    Effected,
    /// Stores the outcome; the client waits.
    Keeping,
    /// Stores the outcome in the background; the client has been answered.
    KeepingLate,
    /// Gives the claim back.
    Freeing {
        maybe: bool,
    },
    /// Never starts; frees the slot once no copy of its `begin` can land (rule C5).
    Cancelling,
    /// Marks its record, to have a transaction.
    Joining,
    /// Has a transaction.
    Working,
    /// Commits it with the outcome.
    Committing,
    /// Releases its claim, so that what it has not committed never is.
    Fencing {
        unknown: bool,
    },
    /// The hook is asked about the claim.
    Hook(Asked),
    /// The hook has found the outcome.
    Resolving(Asked),
    Done,
}

impl Stage {
    pub const fn is_active(self) -> bool {
        !matches!(self, Self::Idle | Self::Done)
    }

    pub const fn is_running(self) -> bool {
        matches!(self, Self::Running | Self::Effected | Self::Joining | Self::Working)
    }
}

/// Memory of the past that no store and no server has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ghost {
    /// The largest token ever granted, and the number of claims.
    pub top: u8,
    pub orders: u8,
    /// The last effect that a fenced resource has accepted: token, place, attempt.
    pub fenced: (u8, u8, u8),
    /// Runs that may have had effects since the slot was last empty by right.
    pub runs: u8,
    /// The outcome that a client was told as stored, and the one that `complete` was answered for.
    pub told: Option<OutcomeId>,
    pub stored: Option<OutcomeId>,
}

impl State {
    /// The same state with everything forgotten that can make no difference any more, and tokens
    /// replaced by their ranks.
    pub fn normal(mut self) -> Self {
        let owners = [self.slot, self.replica].map(|kept| kept.map(|kept| kept.owner));
        for (index, item) in (0_u8..).zip(&mut self.tries) {
            if item.step == Stage::Done {
                item.live = false;
                item.open &= item.commits;
                if !item.is_sending() {
                    item.forget(owners.contains(&Some(index)));
                }
            }
        }
        self.rank_tokens();
        self.rank_orders();
        self
    }

    fn rank_tokens(&mut self) {
        let mut used = 0_u64;
        self.each_claim(|token, _| used |= 1 << *token);
        used |= 1 << self.ghost.top | 1;
        let rank = |token: &mut u8| *token = rank(used, *token);
        self.each_claim(|token, _| rank(token));
        rank(&mut self.ghost.top);
    }

    fn rank_orders(&mut self) {
        let mut used = 0_u64;
        self.each_claim(|_, order| used |= 1 << *order);
        used |= 1 << self.ghost.orders | 1;
        let rank = |order: &mut u8| *order = rank(used, *order);
        self.each_claim(|_, order| rank(order));
        rank(&mut self.ghost.orders);
    }

    fn each_claim(&mut self, mut visit: impl FnMut(&mut u8, &mut u8)) {
        for kept in [&mut self.slot, &mut self.replica].into_iter().flatten() {
            visit(&mut kept.token, &mut kept.order);
        }
        for item in &mut self.tries {
            visit(&mut item.token, &mut item.order);
            if let Some(asked) = &mut item.rerun {
                visit(&mut asked.token, &mut asked.order);
            }
            if let Stage::Hook(asked) | Stage::Resolving(asked) = &mut item.step {
                visit(&mut asked.token, &mut asked.order);
            }
        }
        visit(&mut self.ghost.fenced.0, &mut self.ghost.fenced.1);
    }
}

impl Try {
    /// Of which calls copies are under way.
    pub const fn sending(&self) -> [bool; 4] {
        [self.begins, self.renews, self.completes, self.releases]
    }

    pub fn is_sending(&self) -> bool {
        self.sending().contains(&true) || self.marks || self.commits
    }

    /// What is under way for so long has no effect any more.
    pub fn outlive(&mut self) {
        let [begins, renews, completes, releases] = self.aged;
        self.late |= begins;
        self.begins &= !begins;
        self.renews &= !renews;
        self.completes &= !completes;
        self.releases &= !releases;
        self.aged = [false; 4];
    }

    fn forget(&mut self, owner: bool) {
        let kept = if owner { *self } else { Self::default() };
        *self = Self {
            step: Stage::Done,
            odd: self.odd,
            started: kept.started,
            crashed: kept.crashed,
            late: true,
            ..Self::default()
        };
    }
}

fn rank(used: u64, value: u8) -> u8 {
    let below = used & ((1 << value) - 1);
    u8::try_from(below.count_ones()).expect("a rank is below 64")
}
