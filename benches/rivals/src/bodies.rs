//! Larger bodies over loopback sockets.

use crate::rounds::rounds;
use crate::subject::Rivalry;
use crate::{EndToEnd, report};

const BODIES: [usize; 3] = [1 << 10, 64 << 10, 1 << 20];
const CONNECTIONS: usize = 32;

pub(crate) fn measure(options: &EndToEnd) {
    let mut options = EndToEnd { seconds: options.seconds / 2.0, ..options.clone() };
    if options.only.is_empty() {
        options.only = Rivalry::ALL.into();
        options.only.retain(|rivalry| rivalry.mirrors());
    }
    let results = rounds(&options, &BODIES, &[CONNECTIONS]);
    report::write(&options, "bodies", "Larger bodies", &results);
}
