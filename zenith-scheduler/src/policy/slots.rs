//! Keeps room in one piece for larger work that waits: small work first fills what is of no use to it, and has to be much
//! more urgent to take what is.

use super::backlog::{Entry, Kind};
use super::order::Turn;
use super::{Order, Weights};
use crate::core::Core;
use crate::core::placement::Cut;
use crate::core::time::Time;

/// Whether `gpus` GPUs of a node with `free` free ones leave it room for fewer gangs of one of the `larger` sizes.
pub(crate) fn takes_room(gpus: u32, free: u32, larger: &[u32]) -> bool {
    larger.iter().any(|size| free / size > free.saturating_sub(gpus) / size)
}

impl Core {
    /// Sizes of waiting work, in GPUs on a node, whose room a job must leave alone in this turn.
    pub(crate) fn larger(&self, turn: &Turn, kind: &Kind, entry: &Entry, now: Time) -> Vec<u32> {
        let node_size = self.cluster().node_size();
        if self.policy.order != Order::Urgency {
            return Vec::new();
        }
        let Some(cut) = Cut::of(kind.shape.form, node_size) else { return Vec::new() };
        if self.policy.order != Order::Urgency
            || cut.per_node == 0
            || patience_left(&self.policy.weights, cut.per_node, entry, now) <= 0.0
        {
            return Vec::new();
        }
        let above = cut.per_node.max(turn.breaks);
        let mut sizes: Vec<u32> = self.backlog.sizes().map(|size| size.min(node_size)).collect();
        sizes.dedup();
        sizes.retain(|size| *size > above);
        sizes
    }

    /// The turn of a job that had no place beside larger work: later, but it may then take the room of the smallest of it.
    pub(crate) fn discounted(
        &self,
        turn: Turn,
        kind: &Kind,
        entry: &Entry,
        larger: &[u32],
        now: Time,
    ) -> Option<Turn> {
        let size = *larger.first()?;
        let node_size = self.cluster().node_size();
        let cut = Cut::of(kind.shape.form, node_size)?;
        let weights = &self.policy.weights;
        let power = if size == node_size { weights.keep_nodes } else { weights.keep_slots };
        let part = f64::from(cut.per_node.max(turn.breaks)) / f64::from(size);
        let urgency = turn.urgency * part.powf(power * patience_left(weights, cut.per_node, entry, now));
        Some(Turn { breaks: size, urgency, ..turn })
    }
}

/// How strongly a job still stands back: fully for `keep_for` per GPU, then less and less, and not at all after twice that.
fn patience_left(weights: &Weights, gpus: u32, entry: &Entry, now: Time) -> f64 {
    let waited = now.since(entry.submitted).as_secs_f64();
    let full = (weights.keep_for.as_secs_f64() * f64::from(gpus)).max(1.0);
    (2.0 - waited / full).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{JobId, Span};

    #[test]
    fn what_is_of_no_use_to_larger_work_may_be_taken() {
        assert!(takes_room(1, 8, &[4, 8]) && takes_room(1, 4, &[4]));
        assert!(!takes_room(1, 3, &[4, 8]) && !takes_room(1, 5, &[4]) && !takes_room(2, 7, &[8]));
        assert!(!takes_room(1, 8, &[]));
    }

    #[test]
    fn standing_back_ends() {
        let weights = Weights { keep_for: Span::from_secs(10), ..Weights::default() };
        let left = |seconds: u64| {
            let entry = Entry { order: 0, job: JobId(1), submitted: Time(0), runtime: None };
            patience_left(&weights, 2, &entry, Time(seconds * 1000))
        };
        assert_eq!((left(0), left(20), left(30), left(40), left(400)), (1.0, 1.0, 0.5, 0.0, 0.0));
    }
}
