//! Every number type, every way of not being a number, each beside the nearest that is one.

use hone_model::Dtype;
use hone_model::adapter::check_tensor_finite;

#[test]
fn what_is_no_number_is_found_in_every_type() {
    let f32s = |n: u32| n.to_le_bytes().to_vec();
    let f16s = |n: u16| n.to_le_bytes().to_vec();
    let cases = [
        (Dtype::F32, f32s(0x7f80_0000), f32s(0x7f7f_ffff)),
        (Dtype::F32, f32s(0xff80_0000), f32s(0xff7f_ffff)),
        (Dtype::F32, f32s(0x7f80_0001), f32s(0x0000_0001)),
        (Dtype::F32, f32s(0xffff_ffff), f32s(0x8000_0000)),
        (Dtype::F16, f16s(0x7c00), f16s(0x7bff)),
        (Dtype::F16, f16s(0xfc00), f16s(0xfbff)),
        (Dtype::F16, f16s(0x7c01), f16s(0x0001)),
        (Dtype::F16, f16s(0xffff), f16s(0x8000)),
        (Dtype::BF16, f16s(0x7f80), f16s(0x7f7f)),
        (Dtype::BF16, f16s(0xff80), f16s(0xff7f)),
        (Dtype::BF16, f16s(0x7f81), f16s(0x0001)),
        (Dtype::BF16, f16s(0xffff), f16s(0x8000)),
    ];
    for (dtype, bad, good) in cases {
        for at in [0, 5, 1000] {
            let mut data = good.repeat(1001);
            check_tensor_finite("f", "t", dtype, &data).expect("numbers");
            data[at * bad.len()..][..bad.len()].copy_from_slice(&bad);
            let said = check_tensor_finite("f", "t", dtype, &data).expect_err("no number").to_string();
            assert!(said.starts_with(&format!("f: tensor t: element {at} is ")), "{dtype} {bad:02x?}: {said}");
        }
    }
    check_tensor_finite("f", "t", Dtype::Q4_0, &[]).expect_err("blocks are nobody's adapter");
}
