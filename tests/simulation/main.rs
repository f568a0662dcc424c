//! The real engine and layer, over a simulated store and a simulated network, in virtual time: many
//! clients, several servers, and everything that goes wrong between them. One number, the seed,
//! decides all of it. See `README.md`.

#![allow(unreachable_pub, reason = "nothing outside reaches into a test binary")]

mod client;
mod counters;
mod defects;
mod event;
mod faults;
mod handler;
mod history;
mod invariants;
mod known_bugs;
mod many_seeds;
mod meaning;
mod network;
mod plan;
mod rng;
mod seed;
mod server;
mod simulation;
mod site;
mod store_client;
mod store_server;
mod trace;
mod words;
mod world;

/// Handlers panic on purpose, and nobody needs to read that.
fn quiet_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if panic.payload_as_str() != Some("simulated") {
                loud(panic);
            }
        }));
    });
}
