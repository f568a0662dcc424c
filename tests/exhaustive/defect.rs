//! Faults that are seeded into the rules, one at a time. `apply` itself is never changed: a defect
//! changes what it is given, what is kept of its answer, or what the engine does.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// The lease is the store's own expiry: a lapsed record is gone.
    LeaseIsExpiry,
    /// `complete` and `release` do not look whose record it is.
    UnfencedWrites,
    /// `begin` does not know its own claim again.
    NoNonce,
    /// A repeated `begin` draws a new nonce.
    NewNonceOnRepeat,
    /// `begin` has no deadline, and nobody cancels.
    NoDeadlineNoCancel,
    /// The token is the number of the attempt.
    TokenIsNumber,
    /// A released record leaves nothing behind.
    NoTombstone,
    /// The tombstone does not outlive the calls of its attempt.
    ShortTombstone,
    /// An attempt whose outcome was not stored cancels.
    CancelAfterStart,
    /// An attempt cancels before the deadline of its `begin`.
    CancelTooSoon,
    /// A claim counts although too few replicas have it.
    ShortfallIgnored,
    /// Leases are judged by the clock of whoever asks.
    LeaseByClientClock,
    /// A completed record replays without a look at its expiry.
    ReplayBeforeExpiry,
    /// `begin` takes a lapsed claim over whatever the guarantee.
    TakeOverAlways,
    /// Other bodies are not told apart.
    FingerprintIgnored,
    /// `renew` does not look whose record it is.
    UnfencedRenew,
    /// `complete` overwrites what its attempt or an operator has stored.
    SecondOutcomeWins,
    /// `resolve` does not look whether the claim is abandoned, and which it is.
    UnfencedResolve,
    /// A worker that lost its claim sends its own answer.
    OwnAnswerWhenFenced,
    /// `resolve` leaves the record to its worker.
    ResolveKeepsNonce,
    /// The hook says to run, and the claim that it was asked about is known by its number only.
    RerunByNumber,
    /// The handler runs although nobody knows whether `begin` was granted.
    RunOnUnknown,
    /// A claim that may have lapsed is not renewed before the handler starts.
    NoConfirmation,
    /// Work ends with the request's future.
    DropAbandons,
    /// The purge does not look again whether the record has expired.
    PurgeUnexpired,
    /// A transaction is committed without a look whose the record is.
    BlindCommit,
    /// What the handler wrote is committed by itself, before the outcome.
    RowFirst,
    /// Who takes a marked claim over leaves it the token, by which alone a commit is compared.
    UnfencedTakeOver,
    /// `resolve` does not look whether the claim is marked.
    MarkedResolved,
    /// An answer goes out before it is certain what became of the commit.
    AnswerBeforeFence,
    /// A claim is given back while a copy of its `begin` may arrive.
    ReleaseTooSoon,
    /// The attempt number of the record that is taken over is not looked at.
    NumberForgotten,
}
