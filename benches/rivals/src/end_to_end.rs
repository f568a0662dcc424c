//! Small bodies over loopback sockets, with different numbers of connections.

use crate::rounds::{SMALL, rounds};
use crate::{EndToEnd, plots, report};

pub(crate) fn measure(options: &EndToEnd) {
    let results = rounds(options, &[SMALL], &options.connections);
    if let Some(workers) = options.workers {
        let name = format!("end_to_end_workers_{workers}");
        let title =
            format!("Over loopback sockets, in a runtime of several threads with {workers}");
        return report::write(options, &name, &title, &results);
    }
    report::write(options, "end_to_end", "Over loopback sockets", &results);
    plots::draw(&options.output.into, &results.measures);
}
