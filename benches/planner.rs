//! The planner with a game of 100,000 chunks (100 GiB): `cargo bench --bench planner`.
#![allow(missing_docs, clippy::unwrap_used)]

use divan::Bencher;
use divan::counter::ItemsCount;
use lanspread_peer::engine::planner_bench::PlannerBench;

const CHUNKS: u32 = 100_000;

fn main() {
    divan::main();
}

/// Every chunk through all its states; items are chunks.
#[divan::bench(args = [1, 4, 24], sample_count = 20)]
fn whole_game(bencher: Bencher<'_, '_>, sources: u8) {
    bencher.counter(ItemsCount::new(CHUNKS)).with_inputs(|| PlannerBench::new(CHUNKS, sources).unwrap()).bench_values(
        |mut planner| {
            planner.fetch_all();
            assert!(planner.is_complete());
        },
    );
}

/// One run taken and lost again, with 50,000 extents of one chunk each.
#[divan::bench(sample_count = 20)]
fn next_run_in_tatters(bencher: Bencher<'_, '_>) {
    let mut planner = PlannerBench::new(CHUNKS, 4).unwrap();
    planner.tear();
    bencher.counter(ItemsCount::new(1u32)).bench_local(|| {
        let (request, range) = planner.take(3).unwrap();
        planner.lose(request);
        range
    });
}
