//! TensorBoard's event files: records of TFRecord that hold `tensorflow.Event` messages of Protocol Buffers.
//!
//! A record is its length (8 bytes), the masked CRC-32C of those, the message, and the masked CRC-32C of that; all little-endian. Of the messages only what
//! curves and texts need is written: the file's version, scalars (`simple_value`), and texts (a tensor of strings for the plug-in `text`).
//! Sources: tensorflow/core/lib/io/record_writer.h, tensorflow/core/util/event.proto, framework/{summary,tensor,types}.proto.

/// Record of the version, which is the first of a file. `time` is in seconds since 1970.
pub fn version(time: f64) -> Vec<u8> {
    let mut event = Message::default();
    event.double(1, time);
    event.bytes(3, b"brain.Event:2");
    record(&event.0)
}

/// Record of what was measured at a step, each value with its name.
pub fn scalars(time: f64, step: u64, values: &[(&str, f64)]) -> Vec<u8> {
    let mut summary = Message::default();
    for (tag, value) in values {
        let mut v = Message::default();
        v.bytes(1, tag.as_bytes());
        v.float(2, *value as f32);
        summary.bytes(1, &v.0);
    }
    event(time, step, &summary)
}

/// Record of a text at a step.
pub fn text(time: f64, step: u64, tag: &str, text: &str) -> Vec<u8> {
    const STRING: u64 = 7;
    let mut plugin = Message::default();
    plugin.bytes(1, b"text");
    let mut metadata = Message::default();
    metadata.bytes(1, &plugin.0);
    let mut dimension = Message::default();
    dimension.number(1, 1);
    let mut shape = Message::default();
    shape.bytes(2, &dimension.0);
    let mut tensor = Message::default();
    tensor.number(1, STRING);
    tensor.bytes(2, &shape.0);
    tensor.bytes(8, text.as_bytes());
    let mut value = Message::default();
    value.bytes(1, tag.as_bytes());
    value.bytes(8, &tensor.0);
    value.bytes(9, &metadata.0);
    let mut summary = Message::default();
    summary.bytes(1, &value.0);
    event(time, step, &summary)
}

fn event(time: f64, step: u64, summary: &Message) -> Vec<u8> {
    let mut event = Message::default();
    event.double(1, time);
    event.number(2, step);
    event.bytes(5, &summary.0);
    record(&event.0)
}

/// A message in the wire format: for each field its number and kind, then its value.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut v: u64) {
        while v >= 0x80 {
            self.0.push(v as u8 | 0x80);
            v >>= 7;
        }
        self.0.push(v as u8);
    }

    fn number(&mut self, field: u64, v: u64) {
        self.varint(field << 3);
        self.varint(v);
    }

    fn double(&mut self, field: u64, v: f64) {
        self.varint(field << 3 | 1);
        self.0.extend(v.to_le_bytes());
    }

    fn float(&mut self, field: u64, v: f32) {
        self.varint(field << 3 | 5);
        self.0.extend(v.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, v: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(v.len() as u64);
        self.0.extend(v);
    }
}

fn record(message: &[u8]) -> Vec<u8> {
    let length = (message.len() as u64).to_le_bytes();
    let mut out = Vec::with_capacity(message.len() + 16);
    out.extend(length);
    out.extend(masked(&length).to_le_bytes());
    out.extend(message);
    out.extend(masked(message).to_le_bytes());
    out
}

/// CRC-32C (Castagnoli), turned and moved as TFRecord has it, so that a checksum of data that holds checksums is still a good one.
fn masked(data: &[u8]) -> u32 {
    crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

fn crc32c(data: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    !data.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |c, _| if c & 1 == 1 { c >> 1 ^ POLYNOMIAL } else { c >> 1 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_the_published_ones() {
        // RFC 3720, appendix B.4.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn a_record_is_as_the_format_says() {
        let r = scalars(2.0, 300, &[("a", 1.5)]);
        let message = [
            [9, 0, 0, 0, 0, 0, 0, 0, 64].as_slice(),
            &[16, 0xac, 2],
            &[42, 10, 10, 8, 10, 1, b'a', 21, 0, 0, 0xc0, 0x3f],
        ]
        .concat();
        assert_eq!(r[..8], (message.len() as u64).to_le_bytes());
        assert_eq!(r[12..12 + message.len()], message);
        assert_eq!(r.len(), message.len() + 16);
    }
}
