//! Where in a plugin's memory its inputs are put: asked of the plugin or taken by the host, kept from call to call, and
//! enlarged when a longer sample comes. What is put there is not its business.

use crate::PluginError;
use crate::live::Core;
use crate::module::PAGE;
use crate::plugin::Inner;

/// What every place is a multiple of.
const ALIGNMENT: usize = 16;

/// A stretch of a plugin's memory that is the host's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    start: usize,
    length: usize,
}

impl Place {
    /// Whether it is kept for samples that need less than `need` bytes.
    pub(crate) const fn is_shorter(self, need: usize) -> bool {
        self.length != 0 && self.length < need
    }
}

impl Core {
    /// A place of at least `need` bytes; where it begins. The clock must run, because the plugin may be asked.
    #[inline]
    pub(crate) fn prepare(&mut self, plugin: &Inner, need: usize) -> Result<usize, PluginError> {
        if need <= self.place.length && self.place.length != 0 {
            return Ok(self.place.start);
        }
        self.enlarge(plugin, need)
    }

    #[cold]
    fn enlarge(&mut self, plugin: &Inner, need: usize) -> Result<usize, PluginError> {
        let limit = plugin.limits.memory.min(u32::MAX as usize);
        if need > limit {
            return Err(PluginError::Memory { plugin: plugin.name.to_string(), wanted: need, limit });
        }
        // What a place leaves behind is lost, so it becomes at least twice as long, while that is little of the memory.
        let twice = self.place.length * 2;
        let want = if twice <= limit / 8 { need.max(twice) } else { need };
        let want = want.max(1).next_multiple_of(ALIGNMENT);
        self.place = match self.alloc.clone() {
            Some(alloc) => {
                let at = self.call(plugin, "zenith_alloc", &alloc, want as i32)? as u32 as usize;
                self.given(plugin, at, want)?
            }
            None => self.taken(plugin, want)?,
        };
        Ok(self.place.start)
    }

    /// What the plugin answered to `zenith_alloc`.
    fn given(&self, plugin: &Inner, start: usize, length: usize) -> Result<Place, PluginError> {
        let size = self.memory.data_size(&self.store);
        if start == 0 {
            return Err(self.refusal(plugin).unwrap_or_else(|| PluginError::Memory {
                plugin: plugin.name.to_string(),
                wanted: size + length,
                limit: plugin.limits.memory,
            }));
        }
        if !start.is_multiple_of(ALIGNMENT) {
            return Err(
                plugin.bad_result(format!("zenith_alloc gave {start}, which is no multiple of {ALIGNMENT}"))
            );
        }
        if start + length > size {
            return Err(plugin.bad_result(format!(
                "zenith_alloc gave {length} bytes at {start}, but its memory has {size}"
            )));
        }
        Ok(Place { start, length })
    }

    /// New pages behind everything the plugin has; a place that lies there already goes on in them.
    fn taken(&mut self, plugin: &Inner, want: usize) -> Result<Place, PluginError> {
        let size = self.memory.data_size(&self.store);
        let at_end = self.place.length != 0 && self.place.start + self.place.length == size;
        let start = if at_end { self.place.start } else { size };
        let pages = (start + want - size).div_ceil(PAGE);
        if self.memory.grow(&mut self.store, pages as u64).is_err() {
            // Refused by the limit, by the module's own maximum, or by the machine.
            return Err(PluginError::Memory {
                plugin: plugin.name.to_string(),
                wanted: size + pages * PAGE,
                limit: self.most(plugin),
            });
        }
        Ok(Place { start, length: self.memory.data_size(&self.store) - start })
    }

    /// How large the memory may become.
    fn most(&self, plugin: &Inner) -> usize {
        let own = self.memory.ty(&self.store).maximum().and_then(|pages| usize::try_from(pages).ok());
        own.map_or(plugin.limits.memory, |pages| plugin.limits.memory.min(pages.saturating_mul(PAGE)))
    }
}
