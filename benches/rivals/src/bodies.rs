//! Larger bodies over loopback sockets.

use crate::end_to_end::rounds;
use crate::{EndToEnd, report};

const BODIES: [usize; 3] = [1 << 10, 64 << 10, 1 << 20];
const CONNECTIONS: usize = 32;

pub(crate) fn measure(options: &EndToEnd) {
    let options = EndToEnd { seconds: options.seconds / 2.0, ..options.clone() };
    let results = rounds(&options, &BODIES, &[CONNECTIONS]);
    report::write(&options, "bodies", "Larger bodies", &results);
}
