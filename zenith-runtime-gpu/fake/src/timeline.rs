//! Streams, events and engines in virtual time: what runs when, decided by arithmetic. Knows no memory and no C.

use std::collections::{BTreeMap, VecDeque};

/// What a stream does, in its order.
#[derive(Debug)]
pub(crate) enum Op<C> {
    /// A copy of so many nanoseconds on one of the engines.
    Copy { engine: usize, ns: u64, copy: C },
    /// Marks an event.
    Record { event: u64, generation: u64 },
    /// Waits for a mark of an event.
    Wait { event: u64, generation: u64 },
}

#[derive(Debug)]
struct Stream<C> {
    ops: VecDeque<Op<C>>,
    /// When all that was executed had ended.
    time: u64,
}

/// An event's marks.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Event {
    /// How often it was recorded.
    pub(crate) asked: u64,
    /// Of these, how many have happened.
    pub(crate) happened: u64,
    /// When the last of these was.
    pub(crate) at: u64,
    /// Destroyed; its marks still come, for those who wait for them already.
    pub(crate) gone: bool,
}

/// All streams and events of a device.
#[derive(Debug)]
pub(crate) struct Timeline<C> {
    pub(crate) now: u64,
    streams: BTreeMap<u64, Stream<C>>,
    pub(crate) events: BTreeMap<u64, Event>,
    /// When each engine is free.
    engines: [u64; 2],
}

impl<C> Timeline<C> {
    pub(crate) fn new() -> Self {
        Self { now: 0, streams: BTreeMap::new(), events: BTreeMap::new(), engines: [0; 2] }
    }

    pub(crate) fn streams(&self) -> usize {
        self.streams.len()
    }

    pub(crate) fn add_stream(&mut self, handle: u64) {
        self.streams.insert(handle, Stream { ops: VecDeque::new(), time: self.now });
    }

    pub(crate) fn has_stream(&self, handle: u64) -> bool {
        self.streams.contains_key(&handle)
    }

    pub(crate) fn remove_stream(&mut self, handle: u64) {
        self.streams.remove(&handle);
    }

    pub(crate) fn is_idle(&self, handle: u64) -> bool {
        self.streams.get(&handle).is_none_or(|stream| stream.ops.is_empty())
    }

    /// Adds to a stream; what is added now cannot have begun before now.
    pub(crate) fn push(&mut self, handle: u64, op: Op<C>) {
        let now = self.now;
        if let Some(stream) = self.streams.get_mut(&handle) {
            if stream.ops.is_empty() {
                stream.time = stream.time.max(now);
            }
            stream.ops.push_back(op);
        }
    }

    /// The stream whose head ends first, and when; `None` where nothing can run.
    fn next(&self) -> Option<(u64, u64)> {
        let heads = self.streams.iter().filter_map(|(handle, stream)| {
            let end = match stream.ops.front()? {
                Op::Copy { engine, ns, .. } => stream.time.max(self.engines[*engine]) + ns,
                Op::Record { .. } => stream.time,
                Op::Wait { event, generation } => {
                    let event = self.events.get(event)?;
                    if event.happened < *generation {
                        return None;
                    }
                    stream.time.max(event.at)
                }
            };
            Some((end, *handle))
        });
        heads.min().map(|(end, handle)| (handle, end))
    }

    /// Executes what comes next, if it ends by `until`; a copy is given to `copy`.
    fn step(&mut self, until: u64, copy: &mut dyn FnMut(C)) -> Option<u64> {
        let (handle, end) = self.next().filter(|(_, end)| *end <= until)?;
        let stream = self.streams.get_mut(&handle)?;
        let op = stream.ops.pop_front()?;
        stream.time = end;
        match op {
            Op::Copy { engine, copy: what, .. } => {
                self.engines[engine] = end;
                copy(what);
            }
            Op::Record { event, generation } => {
                if let Some(event) = self.events.get_mut(&event) {
                    event.happened = event.happened.max(generation);
                    event.at = end;
                }
            }
            Op::Wait { .. } => {}
        }
        Some(end)
    }

    /// Lets time pass.
    pub(crate) fn pass(&mut self, ns: u64, copy: &mut dyn FnMut(C)) {
        self.now += ns;
        while self.step(self.now, copy).is_some() {}
    }

    /// Lets time pass until something holds; whether it came to that.
    pub(crate) fn pass_until(&mut self, holds: impl Fn(&Self) -> bool, copy: &mut dyn FnMut(C)) -> bool {
        while !holds(self) {
            match self.step(u64::MAX, copy) {
                Some(end) => self.now = self.now.max(end),
                None => return false,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(engine: usize, ns: u64, name: &'static str) -> Op<&'static str> {
        Op::Copy { engine, ns, copy: name }
    }

    #[test]
    fn copies_share_an_engine_and_streams_overlap() {
        let mut line = Timeline::new();
        line.add_stream(1);
        line.add_stream(2);
        line.push(1, copy(0, 10, "a"));
        line.push(2, copy(0, 10, "b"));
        line.push(2, copy(1, 5, "c"));
        let mut done = Vec::new();
        line.pass(9, &mut |name| done.push(name));
        assert_eq!(done, Vec::<&str>::new());
        line.pass(1, &mut |name| done.push(name));
        assert_eq!(done, ["a"]);
        line.pass(10, &mut |name| done.push(name));
        assert_eq!(done, ["a", "b"]);
        assert!(line.pass_until(|line| line.is_idle(2), &mut |name| done.push(name)));
        assert_eq!((done, line.now), (vec!["a", "b", "c"], 25));
    }

    #[test]
    fn a_wait_holds_a_stream_until_the_mark() {
        let mut line = Timeline::new();
        line.add_stream(1);
        line.add_stream(2);
        line.events.insert(7, Event { asked: 1, ..Event::default() });
        line.push(2, Op::Wait { event: 7, generation: 1 });
        line.push(2, copy(1, 1, "after"));
        line.push(1, copy(0, 100, "before"));
        line.push(1, Op::Record { event: 7, generation: 1 });
        let mut done = Vec::new();
        line.pass(50, &mut |name| done.push(name));
        assert!(done.is_empty());
        line.pass(51, &mut |name| done.push(name));
        assert_eq!(done, ["before", "after"]);
    }
}
