//! What happens to a picture between the decoder and the batch: torchvision's operations, compiled to a plan that
//! asks the decoder only for the pixels it needs and writes straight into the sample's slot.
