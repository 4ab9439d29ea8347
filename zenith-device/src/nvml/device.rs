//! What NVML tells of one GPU. A call that fails leaves its value unknown; only a GPU without an identity is an error.

use nvml_wrapper::Device;
use nvml_wrapper::enum_wrappers::device::{Clock, EccCounter, MemoryError};
use nvml_wrapper::enums::device::SampleValue;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::struct_wrappers::device::PciInfo;
use nvml_wrapper::structs::device::FieldId;
use nvml_wrapper::sys_exports::field_id::{
    NVML_FI_DEV_REMAPPED_COR, NVML_FI_DEV_REMAPPED_FAILURE, NVML_FI_DEV_REMAPPED_PENDING,
    NVML_FI_DEV_REMAPPED_UNC,
};

use crate::finding::Source;
use crate::gpu::{Clocks, ComputeCapability, Ecc, Gpu, Memory, Mig, MigInstance, RemappedRows, Vendor};

/// No GPU has more instances; the driver's own number is not trusted further.
const MOST_INSTANCES: u32 = 64;

/// What NVML tells of the GPU with this number.
///
/// # Errors
/// When the GPU does not answer any more.
pub(super) fn gpu(device: &Device<'_>, index: u32) -> Result<Gpu, NvmlError> {
    // These two are what the driver keeps of every GPU: where neither can be had, there is nothing behind the handle.
    let (uuid, pci) = (known(device.uuid())?, known(device.pci_info())?);
    Ok(Gpu {
        index: Some(index),
        model: device.name().ok(),
        uuid,
        pci: pci.as_ref().map(address),
        memory: memory(device),
        mig: mig(device),
        clocks: Clocks {
            sm_mhz: number(device.clock_info(Clock::SM)),
            max_sm_mhz: number(device.max_clock_info(Clock::SM)),
            memory_mhz: number(device.clock_info(Clock::Memory)),
            max_memory_mhz: number(device.max_clock_info(Clock::Memory)),
        },
        ecc: ecc(device),
        remapped_rows: remapped_rows(device),
        compute_capability: device.cuda_compute_capability().ok().and_then(|capability| {
            Some(ComputeCapability {
                major: capability.major.try_into().ok()?,
                minor: capability.minor.try_into().ok()?,
            })
        }),
        ..Gpu::unknown(Source::Nvml, Vendor::Nvidia)
    })
}

/// A value, or that this library or this GPU has none; any other error is one of the GPU.
fn known<T>(answer: Result<T, NvmlError>) -> Result<Option<T>, NvmlError> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(NvmlError::FailedToLoadSymbol(_) | NvmlError::NotSupported) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The address in the kernel's notation; NVML's own has a domain of eight digits.
pub(crate) fn address(pci: &PciInfo) -> String {
    format!("{:04x}:{:02x}:{:02x}.0", pci.domain, pci.bus, pci.device)
}

/// NVML writes -1 for "not available" into some of its numbers.
fn number(answer: Result<u32, NvmlError>) -> Option<u32> {
    answer.ok().filter(|&value| value != u32::MAX)
}

fn memory(device: &Device<'_>) -> Option<Memory> {
    let info = device.memory_info().ok()?;
    Some(Memory { total_bytes: info.total, free_bytes: Some(info.free) })
}

fn mig(device: &Device<'_>) -> Option<Mig> {
    let mode = device.mig_mode().ok()?;
    let enabled = mode.current == 1;
    let slots = if enabled { device.mig_device_count().unwrap_or(0).min(MOST_INSTANCES) } else { 0 };
    // Empty slots lie between instances.
    let instances = (0..slots)
        .filter_map(|slot| {
            let instance = device.mig_device_by_index(slot).ok()?;
            let attributes = instance.attributes().ok();
            Some(MigInstance {
                uuid: instance.uuid().ok()?,
                model: instance.name().ok(),
                memory_bytes: attributes
                    .as_ref()
                    .and_then(|attributes| attributes.memory_size_mb.checked_mul(1 << 20))
                    .or_else(|| Some(instance.memory_info().ok()?.total)),
                multiprocessors: attributes.as_ref().map(|attributes| attributes.multiprocessor_count),
                gpu_slices: attributes.as_ref().map(|attributes| attributes.gpu_instance_slice_count),
                compute_slices: attributes.as_ref().map(|attributes| attributes.compute_instance_slice_count),
            })
        })
        .collect();
    Some(Mig { enabled, pending: mode.pending == 1, instances })
}

fn ecc(device: &Device<'_>) -> Option<Ecc> {
    let mode = device.is_ecc_enabled().ok()?;
    let count = |error, counter| device.total_ecc_errors(error, counter).ok();
    Some(Ecc {
        enabled: Some(mode.currently_enabled),
        corrected: count(MemoryError::Corrected, EccCounter::Volatile),
        uncorrected: count(MemoryError::Uncorrected, EccCounter::Volatile),
        lifetime_corrected: count(MemoryError::Corrected, EccCounter::Aggregate),
        lifetime_uncorrected: count(MemoryError::Uncorrected, EccCounter::Aggregate),
    })
}

fn remapped_rows(device: &Device<'_>) -> Option<RemappedRows> {
    let [corrected, uncorrected, pending, failed] = fields(
        device,
        [
            NVML_FI_DEV_REMAPPED_COR,
            NVML_FI_DEV_REMAPPED_UNC,
            NVML_FI_DEV_REMAPPED_PENDING,
            NVML_FI_DEV_REMAPPED_FAILURE,
        ],
    )
    .ok()?;
    let rows = RemappedRows {
        corrected,
        uncorrected,
        pending: pending.map(|value| value != 0),
        failed: failed.map(|value| value != 0),
    };
    let is_known = corrected.or(uncorrected).or(pending).or(failed).is_some();
    is_known.then_some(rows)
}

/// The values of some fields; `None` for each that this GPU has not.
pub(crate) fn fields<const N: usize>(
    device: &Device<'_>,
    ids: [u32; N],
) -> Result<[Option<u64>; N], NvmlError> {
    let samples = device.field_values_for(&ids.map(FieldId))?;
    let mut values = [None; N];
    for (value, sample) in values.iter_mut().zip(samples) {
        *value = sample.and_then(|sample| sample.value).ok().and_then(|value| match value {
            SampleValue::U32(value) => Some(u64::from(value)),
            SampleValue::U64(value) => Some(value),
            SampleValue::I64(value) => u64::try_from(value).ok(),
            SampleValue::F64(_) => None,
        });
    }
    Ok(values)
}
