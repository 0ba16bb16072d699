//! The kinds of streams against a transport that is a list.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::fetch::Fetch;
use super::frames::Outgoing;
use super::games::Files;
use super::inbound::{Inbound, ToSend, answer_frame};
use super::io::{Io, Step, Wire};
use super::notice::{Hearing, Telling};
use super::parsing::ParsedElsewhere;
use super::request::Request;
use super::stream::Kind;
use super::uploads::{Share, Uploads};
use crate::config::Config;
use crate::engine::{ConnId, InboundId, Input, Planned, RequestId, RunFailure};
use crate::fs::Dir;
use crate::proto::{
    self, Answer, ChunkRun, CloseCode, GetChunks, MAX_BULK_FRAME, MAX_CONTROL_FRAME, Notification, StreamCode, encode,
};
use crate::quic::{Recv, SendError};
use crate::reactor::metrics::Counters;
use crate::reactor::now_outside_the_engine;
use crate::types::{
    Batch, CHUNK_SIZE, ChunkHash, ChunkRange, ContentHash, DownloadId, DownloadPlan, FileEntry, GameId, JobError,
    JobErrorKind, Manifest, PeerId, RelPath,
};
use crate::workers::{BufferPool, ReadChunks, ServedGame, Task};

/// What a stream told its transport to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Told {
    Reset(StreamCode),
    StopSending(StreamCode),
    Bulk,
}

/// A transport of one stream: what arrives is a list, what leaves is kept.
#[derive(Default)]
struct Pipe {
    arriving: VecDeque<(Vec<u8>, bool)>,
    reset: bool,
    /// Bytes that it takes.
    room: usize,
    sent: Vec<u8>,
    fin: bool,
    stopped: bool,
    told: Vec<Told>,
}

impl Wire for &mut Pipe {
    fn recv(&mut self, into: &mut [u8]) -> Recv {
        let Some((bytes, fin)) = self.arriving.front_mut() else {
            return if self.reset { Recv::Reset(StreamCode::Busy.number()) } else { Recv::Blocked };
        };
        let len = bytes.len().min(into.len());
        into[..len].copy_from_slice(&bytes[..len]);
        bytes.drain(..len);
        let fin = *fin && bytes.is_empty();
        if bytes.is_empty() {
            self.arriving.pop_front();
        }
        Recv::Data { len, fin }
    }

    fn send(&mut self, mut bytes: Bytes, fin: bool) -> Result<Option<Bytes>, SendError> {
        if self.stopped {
            return Err(SendError::Stopped(0));
        }
        let rest = bytes.split_off(bytes.len().min(self.room));
        self.room -= bytes.len();
        self.sent.extend_from_slice(&bytes);
        self.fin |= fin && rest.is_empty();
        Ok(Some(rest).filter(|rest| !rest.is_empty()))
    }

    fn finish(&mut self) -> Result<(), SendError> {
        self.fin = true;
        Ok(())
    }

    fn reset(&mut self, code: StreamCode) {
        self.told.push(Told::Reset(code));
    }

    fn stop_sending(&mut self, code: StreamCode) {
        self.told.push(Told::StopSending(code));
    }

    fn make_bulk(&mut self) {
        self.told.push(Told::Bulk);
    }

    fn least_round_trip(&self) -> Option<Duration> {
        None
    }
}

/// What a stream is lent, and what it made of it.
struct Bench {
    pipe: Pipe,
    now: Instant,
    config: Config,
    inputs: VecDeque<Input>,
    tasks: VecDeque<Task<ParsedElsewhere>>,
    landing: BufferPool,
    deadline: Option<Instant>,
    held: usize,
    share: Share,
    uploads: Uploads,
    counters: Counters,
    scratch: Vec<u8>,
}

const ID: InboundId = InboundId { conn: ConnId(7), stream: 4 };

impl Bench {
    fn new() -> Self {
        let now = now_outside_the_engine();
        Self {
            pipe: Pipe { room: usize::MAX, ..Pipe::default() },
            now,
            config: Config::new(PathBuf::new(), PathBuf::new()),
            inputs: VecDeque::new(),
            tasks: VecDeque::new(),
            landing: BufferPool::new(2, CHUNK_SIZE as usize),
            deadline: Some(now),
            held: 0,
            share: Share::new(now),
            uploads: Uploads::default(),
            counters: Counters::default(),
            scratch: vec![0; 1000],
        }
    }

    fn step(&mut self, take: impl FnOnce(&mut Io<'_, &mut Pipe>) -> Step) -> Step {
        take(&mut Io {
            wire: &mut self.pipe,
            id: ID,
            now: self.now,
            config: &self.config,
            inputs: &mut self.inputs,
            tasks: &mut self.tasks,
            landing: &self.landing,
            deadline: &mut self.deadline,
            held: &mut self.held,
            share: &mut self.share,
            uploads: &mut self.uploads,
            counters: &mut self.counters,
            scratch: &mut self.scratch,
        })
    }

    /// Lets bytes arrive in pieces of this length, and a stream read after each; what it says in the end.
    fn arrives(&mut self, kind: &mut Kind, bytes: &[u8], piece: usize, fin: bool) -> Step {
        let count = bytes.len().div_ceil(piece);
        for (at, piece) in bytes.chunks(piece).enumerate() {
            self.pipe.arriving.push_back((piece.to_vec(), fin && at + 1 == count));
            loop {
                match self.step(|io| kind.readable(io)) {
                    Step::Again => {}
                    Step::Wait => break,
                    end => return end,
                }
            }
        }
        Step::Wait
    }

    fn input(&mut self) -> Input {
        let input = self.inputs.pop_front().expect("it told something");
        assert!(self.inputs.is_empty(), "and nothing else: {:?}", self.inputs);
        input
    }
}

fn is_fault(step: Step, with: CloseCode) -> bool {
    matches!(step, Step::Fault(fault) if fault.code == with)
}

fn ping() -> Vec<u8> {
    encode(&proto::Request::Ping { nonce: 7 }, MAX_CONTROL_FRAME).unwrap()
}

fn asking() -> Kind {
    let body = proto::Request::Ping { nonce: 7 };
    Kind::Request(Box::new(Request::new(RequestId(3), &body, Outgoing::message(ping()))))
}

#[test]
fn an_answer_is_the_same_in_any_pieces_and_ends_the_stream() {
    let answer = encode(&Answer::Pong { nonce: 7 }, MAX_CONTROL_FRAME).unwrap();
    for piece in 1..answer.len() {
        let (mut bench, mut kind) = (Bench::new(), asking());
        assert!(matches!(bench.step(|io| kind.writable(io)), Step::Wait));
        assert!(bench.pipe.sent == ping() && bench.pipe.fin);
        assert!(matches!(bench.arrives(&mut kind, &answer, piece, true), Step::Over));
        let Input::Answered { request: RequestId(3), result: Ok((Answer::Pong { nonce: 7 }, _)) } = bench.input()
        else {
            panic!("no answer")
        };
        assert_eq!(bench.pipe.told, [], "all was said on both sides");
    }
}

#[test]
fn a_request_that_ends_before_it_is_out_is_reset() {
    let (mut bench, mut kind) = (Bench::new(), asking());
    bench.pipe.room = 3;
    assert!(matches!(bench.step(|io| kind.writable(io)), Step::Again));
    assert!(matches!(bench.step(|io| kind.expired(io)), Step::Over));
    assert!(matches!(bench.input(), Input::Answered { result: Err(RunFailure::Timeout), .. }));
    let told = [Told::StopSending(StreamCode::Cancelled), Told::Reset(StreamCode::Cancelled)];
    assert_eq!(bench.pipe.told, told);
}

#[test]
fn a_broken_answer_is_told_and_is_a_fault() {
    let answer = encode(&Answer::Pong { nonce: 7 }, MAX_CONTROL_FRAME).unwrap();
    let too_long = [&answer[..], b"x"].concat();
    let too_large = u32::MAX.to_be_bytes();
    let cases = [
        (&answer[..answer.len() - 1], CloseCode::Malformed),
        (&too_long[..], CloseCode::Malformed),
        (&too_large[..], CloseCode::FrameTooLarge),
    ];
    for (bytes, code) in cases {
        let (mut bench, mut kind) = (Bench::new(), asking());
        assert!(is_fault(bench.arrives(&mut kind, bytes, 1000, true), code));
        assert!(matches!(bench.input(), Input::Answered { result: Err(RunFailure::Malformed(_)), .. }));
    }
}

#[test]
fn a_long_answer_goes_to_a_worker_and_counts_until_then() {
    let (mut bench, mut kind) = (Bench::new(), {
        let body = proto::Request::GetLibrary { peer_id: PeerId::from_spki_sha256(&[1; 32]) };
        Kind::Request(Box::new(Request::new(RequestId(3), &body, Outgoing::default())))
    });
    let len = super::parsing::PARSE_HERE + 1;
    let mut bytes = u32::try_from(len).unwrap().to_be_bytes().to_vec();
    bytes.resize(4 + len, b' ');
    assert!(matches!(bench.arrives(&mut kind, &bytes, 1000, true), Step::Parse(_)));
    assert_eq!((bench.held, bench.inputs.len()), (len, 0));
}

#[test]
fn a_request_of_a_peer_is_handed_on_answered_and_over() {
    let (mut bench, mut kind) = (Bench::new(), Kind::Inbound(Inbound::new()));
    assert!(matches!(bench.arrives(&mut kind, &ping()[..9], 4, false), Step::Wait));
    assert_eq!(bench.held, 5, "what of the frame is here counts");
    assert!(matches!(bench.arrives(&mut kind, &ping()[9..], 4, true), Step::Wait));
    assert_eq!((bench.held, bench.deadline), (0, None), "the engine takes the time that it takes");
    assert!(matches!(bench.input(), Input::Request { from: ID, request: proto::Request::Ping { nonce: 7 } }));

    let answer = Answer::Pong { nonce: 7 };
    let begun = bench.step(|io| kind.inbound_mut().unwrap().answer(io, answer_frame(&answer)));
    assert!(matches!(begun, Step::Begin) && bench.deadline.is_some());
    bench.pipe.room = 3;
    assert!(matches!(bench.step(|io| kind.writable(io)), Step::Again));
    bench.pipe.room = usize::MAX;
    assert!(matches!(bench.step(|io| kind.writable(io)), Step::Over));
    assert!(bench.pipe.sent == encode(&answer, MAX_BULK_FRAME).unwrap() && bench.pipe.fin);
    assert!(bench.pipe.told.is_empty() && bench.inputs.is_empty());
}

#[test]
fn a_request_that_is_given_up_while_the_engine_has_it_is_told_once() {
    let (mut bench, mut kind) = (Bench::new(), Kind::Inbound(Inbound::new()));
    bench.arrives(&mut kind, &ping(), 1000, false);
    bench.input();
    bench.pipe.reset = true;
    assert!(matches!(bench.step(|io| kind.readable(io)), Step::Over));
    assert!(matches!(bench.input(), Input::RequestGone { from: ID }));
    assert_eq!(bench.pipe.told, [Told::Reset(StreamCode::Cancelled)]);
}

#[test]
fn a_request_that_goes_on_is_a_fault_and_one_that_is_never_finished_too() {
    let (mut bench, mut kind) = (Bench::new(), Kind::Inbound(Inbound::new()));
    bench.arrives(&mut kind, &ping(), 1000, false);
    bench.inputs.clear();
    assert!(is_fault(bench.arrives(&mut kind, b"x", 1, false), CloseCode::Malformed));
    assert!(matches!(bench.input(), Input::RequestGone { from: ID }), "the engine need not answer");

    let (mut bench, mut kind) = (Bench::new(), Kind::Inbound(Inbound::new()));
    bench.arrives(&mut kind, &ping()[..5], 1000, false);
    assert!(is_fault(bench.step(|io| kind.expired(io)), CloseCode::Timeout));
}

#[test]
fn notifications_go_one_way_and_nobody_waits_for_them() {
    let body = Notification::BadChunks { game_id: "doom".parse().unwrap(), content_hash: ContentHash([5; 32]) };
    let (mut bench, mut telling) = (Bench::new(), Kind::Telling(Telling::new(&body).unwrap()));
    assert!(matches!(bench.step(|io| telling.writable(io)), Step::Over));
    let (bytes, mut hearing) = (std::mem::take(&mut bench.pipe.sent), Kind::Hearing(Hearing::new()));
    assert!(matches!(bench.arrives(&mut hearing, &bytes, 3, true), Step::Over));
    let Input::Notification { conn: ConnId(7), notification } = bench.input() else { panic!("it was not heard") };
    assert_eq!(notification, body);
    telling.lost(ID, &mut bench.inputs);
    hearing.lost(ID, &mut bench.inputs);
    assert!(bench.inputs.is_empty());
}

/// A run of one chunk, and its bytes.
fn run() -> (Kind, Vec<u8>) {
    let file = FileEntry { path: RelPath::parse("a").unwrap(), size: 5000, exec: false };
    let manifest = Manifest::new(vec![file]).unwrap();
    let range = ChunkRange { first: 0, count: 1 };
    let header = ChunkRun { first: 0, count: 1, bytes: 5000, hashed: false };
    let mut bytes = encode(&Answer::ChunkRun(header), MAX_CONTROL_FRAME).unwrap();
    bytes.resize(bytes.len() + 5000, 7);
    let plan = DownloadPlan { game: "doom".parse().unwrap(), manifest_hash: manifest.hash(), manifest, content: None };
    let download = Planned { id: DownloadId(9), plan: Arc::new(plan) };
    let fetch = Fetch::new(RequestId(3), Outgoing::default(), download, range, true);
    (Kind::Fetch(Box::new(fetch)), bytes)
}

#[test]
fn a_run_lands_in_a_buffer_for_a_worker_and_is_told() {
    let ((mut kind, bytes), mut bench) = (run(), Bench::new());
    bench.now += Duration::from_secs(1);
    assert!(matches!(bench.arrives(&mut kind, &bytes, 700, true), Step::Over));
    let Some(Task::Write(write)) = bench.tasks.pop_front() else { panic!("no task") };
    assert_eq!((write.token, write.download, write.batch.bytes), (3, DownloadId(9), 5000));
    assert!(write.buf[..5000].iter().all(|byte| *byte == 7) && write.hashes.is_none());
    assert!(matches!(bench.inputs.pop_front(), Some(Input::BatchLanded { request: RequestId(3), .. })));
    assert!(matches!(bench.input(), Input::RunDone { request: RequestId(3), result: Ok(()) }));
    assert_eq!(bench.deadline, Some(bench.now + bench.config.timers.run_stall), "every byte buys time");
}

#[test]
fn a_run_that_stalls_or_is_reset_gives_its_buffer_back() {
    for reset in [false, true] {
        let ((mut kind, bytes), mut bench) = (run(), Bench::new());
        assert!(matches!(bench.arrives(&mut kind, &bytes[..1000], 700, false), Step::Wait));
        assert_eq!(bench.landing.in_use(), 1);
        bench.pipe.reset = reset;
        let end = bench.step(|io| if reset { kind.readable(io) } else { kind.expired(io) });
        assert!(matches!(end, Step::Over));
        let Input::RunDone { result: Err(failure), .. } = bench.input() else { panic!("no end") };
        assert_eq!(failure, if reset { RunFailure::Reset(StreamCode::Busy.number()) } else { RunFailure::Timeout });
        drop(kind);
        assert_eq!(bench.landing.in_use(), 0);
    }
}

/// A run of two chunks with their hashes for a peer, of which both blocks are at the workers.
fn upload(bench: &mut Bench) -> (Kind, [Batch; 2]) {
    let dir = tempfile::tempdir().unwrap();
    let file = FileEntry { path: RelPath::parse("a").unwrap(), size: CHUNK_SIZE + 5000, exec: false };
    let manifest = Manifest::new(vec![file]).unwrap();
    let (game_id, manifest_hash): (GameId, _) = ("doom".parse().unwrap(), manifest.hash());
    let plan = DownloadPlan { game: game_id.clone(), manifest_hash, manifest, content: None };
    let served = Arc::new(ServedGame::in_progress(Dir::open(dir.path()).unwrap(), &plan, None));
    let request = GetChunks { game_id, manifest_hash, content_hash: None, first: 0, count: 2 };
    let frame = encode(&proto::Request::GetChunks(request.clone()), MAX_CONTROL_FRAME).unwrap();
    let mut kind = Kind::Inbound(Inbound::new());
    assert!(matches!(bench.arrives(&mut kind, &frame, 1000, true), Step::Wait));
    assert!(matches!(bench.input(), Input::Request { from: ID, .. }));

    let inbound = kind.inbound_mut().unwrap();
    let files = Files { game: plan.game, manifest_hash, download: None };
    assert!(inbound.wait_for_game(files, ToSend::Chunks(Box::new(request))));
    assert!(matches!(bench.step(|io| inbound.begin(io, served)), Step::Begin));
    let upload = inbound.upload_mut().unwrap();
    let batches = [0, 1].map(|block| {
        let (number, read) = upload.next_read(block, bench.landing.take().unwrap()).unwrap();
        assert!(number == block && read.hash);
        read.batch
    });
    assert!(!upload.wants_read() && upload.reading() == 2);
    (kind, batches)
}

fn block(batch: Batch, byte: u8) -> Result<ReadChunks, JobError> {
    let bytes = vec![byte; batch.bytes as usize].into();
    Ok(ReadChunks { bytes, hashes: Some(vec![ChunkHash([byte; 32])]) })
}

#[test]
fn blocks_that_come_out_of_order_go_out_in_order_each_with_its_hash() {
    let mut bench = Bench::new();
    let (mut kind, [first, second]) = upload(&mut bench);
    assert!(matches!(bench.step(|io| kind.writable(io)), Step::Wait));
    let header = bench.pipe.sent.len();
    let read = bench.step(|io| kind.inbound_mut().unwrap().block_read(io, 1, second, block(second, 2)));
    assert!(matches!(read, Step::Again) && matches!(bench.step(|io| kind.writable(io)), Step::Wait));
    assert_eq!((bench.pipe.sent.len(), bench.inputs.len()), (header, 0), "it is not its turn");

    bench.now += Duration::from_secs(1);
    let read = bench.step(|io| kind.inbound_mut().unwrap().block_read(io, 0, first, block(first, 1)));
    assert!(matches!(read, Step::Again) && matches!(bench.step(|io| kind.writable(io)), Step::Over));
    let expected = [(1, CHUNK_SIZE), (1, 32), (2, 5000), (2, 32)].map(|(byte, len)| vec![byte; len as usize]);
    assert!(bench.pipe.sent[header..] == expected.concat() && bench.pipe.fin);
    let bytes = CHUNK_SIZE + 5000;
    let Input::SendDone { to: ID, bytes: sent, changed: false } = bench.input() else { panic!("no end") };
    assert_eq!((sent, bench.counters.sent), (bytes, bytes), "hashes are not counted");
    assert_eq!((&bench.pipe.told[..], bench.share.moved_at), (&[Told::Bulk][..], bench.now));
}

#[test]
fn a_run_that_is_stopped_is_over_when_no_worker_reads_for_it_any_more() {
    let mut bench = Bench::new();
    let (mut kind, [first, second]) = upload(&mut bench);
    bench.pipe.stopped = true;
    assert!(matches!(bench.step(|io| kind.writable(io)), Step::Wait));
    assert_eq!(bench.pipe.told, [Told::Bulk, Told::Reset(StreamCode::Cancelled)]);
    assert_eq!(bench.share.sends().count(), 0, "its place is another's");
    assert!(matches!(bench.step(|io| kind.expired(io)), Step::Wait));
    let read = bench.step(|io| kind.inbound_mut().unwrap().block_read(io, 1, second, block(second, 2)));
    assert!(matches!(read, Step::Wait) && bench.inputs.is_empty());
    let failed = Err(JobError::new(JobErrorKind::Io, "the disk is gone"));
    let read = bench.step(|io| kind.inbound_mut().unwrap().block_read(io, 0, first, failed));
    assert!(matches!(read, Step::Over));
    assert!(matches!(bench.input(), Input::SendDone { to: ID, bytes: 0, changed: false }));
}

#[test]
fn a_file_that_has_changed_ends_the_run_and_is_told() {
    let mut bench = Bench::new();
    let (mut kind, [first, second]) = upload(&mut bench);
    let changed = Err(JobError::new(JobErrorKind::Changed, "it is longer"));
    let read = bench.step(|io| kind.inbound_mut().unwrap().block_read(io, 0, first, changed));
    assert!(matches!(read, Step::Wait), "another block is at the workers");
    assert_eq!(bench.pipe.told, [Told::Bulk, Told::Reset(StreamCode::Changed)]);
    kind.lost(ID, &mut bench.inputs);
    assert!(matches!(bench.input(), Input::SendDone { changed: true, .. }), "if the connection goes meanwhile");
    let read = bench.step(|io| kind.inbound_mut().unwrap().block_read(io, 1, second, block(second, 2)));
    assert!(matches!(read, Step::Over) && matches!(bench.input(), Input::SendDone { changed: true, .. }));
}
