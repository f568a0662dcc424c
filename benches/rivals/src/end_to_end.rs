//! Small bodies over loopback sockets, with different numbers of connections.

use crate::rounds::{SMALL, rounds};
use crate::{EndToEnd, plots, report};

pub(crate) fn measure(options: &EndToEnd) {
    let results = rounds(options, &[SMALL], &options.connections);
    report::write(options, "end_to_end", "Over loopback sockets", &results);
    plots::draw(&options.output.into, &results.measures);
}
