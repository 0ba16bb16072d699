//! Who is asked for what: the whole rule.
//!
//! **Which content** ([`content`]). One download has one content. Of the catalog's version, or else the newest, it is what the
//! catalog demands; else what most sources are known to have; else what one source has that has not hashed it, which then
//! counts alone. What another source has superseded is left out.
//!
//! **Who may be asked.** A source counts that lists this content, or is downloading it and has told what it has. One that failed,
//! is busy or has other files is given a pause; one that lied or never delivers is banned (`sources`).
//!
//! **Who is asked first** ([`rank`]). [`rank::SourceRank`] is the order, a line for each criterion:
//!
//! | for | what counts |
//! |---|---|
//! | the list of files (`get-game`) | the id |
//! | the list of files (a download) | failures, a peer before a mirror, the id; who lets wait is joined by the next |
//! | a run of chunks | runs in flight, near before far (cable before Wi-Fi), untried before measured, the rate, the id |
//!
//! A source seems far until it is measured: by its round trip, or the kind of interface that leads to it. One such source is
//! tried at a time, with one chunk.
//!
//! **How much** ([`chunks`]). As many bytes as the source brings in a quarter of a second, at least one chunk; two or three runs at
//! a time; within its part of the landing buffers, of which each source is left one.
//!
//! **Which chunks** ([`chunks`]). Alone, a download asks for what the planner holds to be best for the disks at both ends: on from
//! where the source was, else from the largest region. Among other downloaders of the same
//!
//! - a near one is asked for what fewest of the near ones have;
//! - any other source is scarce, and asked for what no near one has or expects, beginning in a slice of the game that is this
//!   download's own; for anything, when the near ones would take long, or bring nothing at all;
//! - a far one is asked for nothing as long as somebody near has everything.
//!
//! A chunk that a source sent wrong is asked of another one, if there is one.
//!
//! **At the end** ([`endgame`]). When every chunk is asked for, an idle source is asked too for what another one would bring much
//! later; the first to land a chunk wins. Whoever lets nothing land for too long has stalled: others are asked for its chunks.

pub(super) mod chunks;
pub(super) mod content;
pub(super) mod endgame;
pub(super) mod rank;
