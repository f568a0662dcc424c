//! How long processes were on a processor, and on which they may be.

use std::fs;
use std::time::Duration;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// How long all threads of this process have run, by the statistics of the scheduler.
pub(crate) fn time(process: u32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten();
    let time = |task: &fs::DirEntry| {
        let statistics = fs::read_to_string(task.path().join("schedstat")).ok()?;
        statistics.split(' ').next()?.parse().ok().map(Duration::from_nanos)
    };
    // A thread that has just ended has no statistics any more.
    tasks.flatten().filter_map(|task| time(&task)).sum()
}

/// The same of a process and those that it has started and that still run.
pub(crate) fn time_of_family(process: u32) -> Duration {
    let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children"));
    let children = children.expect("the process runs");
    let children = children.split_whitespace().map(|child| child.parse().expect("a process id"));
    // One that has just ended has no threads any more.
    children.map(time).sum::<Duration>() + time(process)
}

/// Runs this thread, and what it starts meanwhile, on one processor: the first one for who is measured,
/// and the second for who measures and for stores. With only one processor everything is on it.
pub(crate) fn on<T>(place: Place, work: impl FnOnce() -> T) -> T {
    let before = sched_getaffinity(None).expect("a thread may ask where it runs");
    let allowed: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|cpu| before.is_set(*cpu)).collect();
    let cpu = match place {
        Place::Measured => allowed[0],
        Place::Measuring => *allowed.get(1).unwrap_or(&allowed[0]),
    };
    let mut only = CpuSet::new();
    only.set(cpu);
    sched_setaffinity(None, &only).expect("a thread may restrict itself");
    let result = work();
    sched_setaffinity(None, &before).expect("it was there before");
    result
}

#[derive(Clone, Copy)]
pub(crate) enum Place {
    Measured,
    Measuring,
}
