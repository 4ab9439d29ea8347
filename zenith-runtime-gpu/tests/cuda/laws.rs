//! Whatever the speeds, the sizes and the patience of the consumer: what arrives is what was sent, in its order.

use std::sync::Arc;

use proptest::prelude::*;
use zenith_fakecuda::{Device, Script};
use zenith_runtime_gpu::cuda::PinnedMemory;
use zenith_runtime_gpu::transfer::{Error, Transfer};

use crate::Machine;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn what_arrives_is_what_was_sent(
        sizes in prop::collection::vec(1_usize..5_000, 0..30),
        bad in prop::collection::vec(any::<bool>(), 30),
        slots in 2_usize..6,
        hold in 0_usize..8,
        bytes_per_us in 1_u64..200_000,
        call_ns in 0_u64..2_000,
    ) {
        let device = Device { bytes_per_us, ..Device::default() };
        let machine = Machine::new(&Script { devices: vec![device], call_ns, ..Script::default() });
        let stream = machine.stream();
        let of = Arc::clone(&stream);
        let sent: Vec<Result<(u8, usize), usize>> = sizes
            .iter()
            .zip(&bad)
            .enumerate()
            .map(|(at, (size, bad))| if *bad { Err(at) } else { Ok((at as u8, *size)) })
            .collect();
        let source = sent.clone().into_iter().map(move |item| {
            let (number, size) = item?;
            let mut host = PinnedMemory::new(of.context(), size).unwrap();
            host.as_mut_slice().fill(number);
            Ok::<_, usize>(host)
        });
        let mut transfer = Transfer::new(stream.context(), source, slots, 5_000).unwrap();
        let (mut arrived, mut held) = (Vec::new(), Vec::new());
        loop {
            match transfer.next(&stream) {
                Ok(Some(delivered)) => {
                    let bytes = stream.download(delivered.memory(), delivered.len()).unwrap();
                    prop_assert!(bytes.iter().all(|byte| *byte == bytes[0]));
                    arrived.push(Ok((bytes[0], bytes.len())));
                    held.push(delivered);
                    if held.len() > hold {
                        held.remove(0);
                    }
                }
                Ok(None) => break,
                Err(Error::Source(at)) => arrived.push(Err(at)),
                Err(Error::AllHeld { .. }) => {
                    prop_assert_eq!(held.len(), slots);
                    held.remove(0);
                }
                Err(error) => return Err(TestCaseError::fail(error.to_string())),
            }
        }
        prop_assert_eq!(arrived, sent);
        drop((held, transfer, stream));
        machine.is_empty();
    }
}
