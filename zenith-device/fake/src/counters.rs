//! NVML's entry points for performance counters (GPM). What they answer is the script's.
#![expect(unsafe_code, reason = "C calls these by name")]

use nvml_wrapper_sys::bindings::{
    nvmlDevice_t, nvmlGpmMetricId_t_NVML_GPM_METRIC_ANY_TENSOR_UTIL,
    nvmlGpmMetricId_t_NVML_GPM_METRIC_DRAM_BW_UTIL, nvmlGpmMetricId_t_NVML_GPM_METRIC_SM_UTIL,
    nvmlGpmMetricsGet_t, nvmlGpmSample_t, nvmlGpmSupport_t, nvmlReturn_t,
};

use crate::entry::{answer, code, pointer};
use crate::script::Code;
use crate::state;

#[unsafe(no_mangle)]
extern "C" fn nvmlGpmQueryDeviceSupport(
    device: nvmlDevice_t,
    support: Option<&mut nvmlGpmSupport_t>,
) -> nvmlReturn_t {
    answer(support, |state| {
        let supported = !state.gpu(device.addr())?.1.busy.is_empty();
        Ok(nvmlGpmSupport_t { version: 1, isSupportedDevice: supported.into() })
    })
}

#[unsafe(no_mangle)]
extern "C" fn nvmlGpmSampleAlloc(sample: Option<&mut nvmlGpmSample_t>) -> nvmlReturn_t {
    answer(sample, |state| {
        let handle = state.samples.last_key_value().map_or(1, |(last, _)| last + 1);
        state.samples.insert(handle, None);
        Ok(pointer(handle))
    })
}

#[unsafe(no_mangle)]
extern "C" fn nvmlGpmSampleFree(sample: nvmlGpmSample_t) -> nvmlReturn_t {
    code(state::with(|state| state.samples.remove(&sample.addr()).map(drop).ok_or(Code::InvalidArgument)))
}

#[unsafe(no_mangle)]
extern "C" fn nvmlGpmSampleGet(device: nvmlDevice_t, sample: nvmlGpmSample_t) -> nvmlReturn_t {
    code(state::with(|state| {
        let (gpu, of) = state.gpu(device.addr())?;
        let busy = of.busy.clone();
        if busy.is_empty() {
            return Err(Code::NotSupported);
        }
        let number = state.sampled.entry(gpu).or_default();
        let taken = *number;
        *number += 1;
        // The first sample ends no interval.
        let fault = taken.checked_sub(1).map_or(Code::Success, |interval| busy[interval % busy.len()].fault);
        if fault != Code::Success {
            return Err(fault);
        }
        *state.samples.get_mut(&sample.addr()).ok_or(Code::InvalidArgument)? = Some((gpu, taken));
        Ok(())
    }))
}

#[unsafe(no_mangle)]
extern "C" fn nvmlGpmMetricsGet(request: Option<&mut nvmlGpmMetricsGet_t>) -> nvmlReturn_t {
    code(state::with(|state| {
        let request = request.ok_or(Code::InvalidArgument)?;
        let sample = |handle: nvmlGpmSample_t| state.samples.get(&handle.addr()).copied().flatten();
        let (first, second) =
            sample(request.sample1).zip(sample(request.sample2)).ok_or(Code::InvalidArgument)?;
        if first.0 != second.0 || first.1 >= second.1 {
            return Err(Code::InvalidArgument);
        }
        let busy = &state.script.gpus.get(first.0).ok_or(Code::InvalidArgument)?.busy;
        let busy = busy[first.1 % busy.len()];
        let count = (request.numMetrics as usize).min(request.metrics.len());
        for metric in &mut request.metrics[..count] {
            #[expect(non_upper_case_globals, reason = "these are NVML's own names")]
            let value = match metric.metricId {
                nvmlGpmMetricId_t_NVML_GPM_METRIC_SM_UTIL => busy.sm,
                nvmlGpmMetricId_t_NVML_GPM_METRIC_ANY_TENSOR_UTIL => busy.tensor,
                nvmlGpmMetricId_t_NVML_GPM_METRIC_DRAM_BW_UTIL => busy.memory,
                _ => None,
            };
            metric.nvmlReturn = code(value.map(drop).ok_or(Code::NotSupported));
            metric.value = value.unwrap_or_default();
        }
        Ok(())
    }))
}
