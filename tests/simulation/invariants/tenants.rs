//! No answer crosses tenants, nor keys: what a client gets was made for its own key.

use crate::handler::belongs;
use crate::meaning::Source;
use crate::world::World;

use super::Violation;

pub fn check(world: &World) -> Option<Violation> {
    world.history.requests.iter().enumerate().find_map(|(number, request)| {
        let (_, answer) = request.answer.as_ref()?;
        let source = Source::of(&answer.body)?;
        if belongs(source, request.key, &world.history.runs) {
            return None;
        }
        let text = format!("request {number} was answered from {source:?}, of another key");
        Some(Violation::of("no answer crosses tenants", request.key, text))
    })
}
