//! Every method broken once, in the last byte of what it gives: the checks must find it.

use parity::{Kernel, Lost, Mismatch};

use crate::stripe::{Guarded, Placement, Stripe, md_order, reference};

/// Which output is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    XorGen,
    XorGenStream,
    PqGenP,
    PqGenQ,
    PqGenStreamP,
    PqGenStreamQ,
    QGen,
    PDelta,
    QDelta,
    PqDeltaP,
    PqDeltaQ,
    CheckP,
    CheckPqP,
    CheckPqQ,
    DataFromP,
    DataFromQ,
    TwoDataX,
    TwoDataY,
    TwoDataSwapped,
}

const FAULTS: [Fault; 19] = [
    Fault::XorGen,
    Fault::XorGenStream,
    Fault::PqGenP,
    Fault::PqGenQ,
    Fault::PqGenStreamP,
    Fault::PqGenStreamQ,
    Fault::QGen,
    Fault::PDelta,
    Fault::QDelta,
    Fault::PqDeltaP,
    Fault::PqDeltaQ,
    Fault::CheckP,
    Fault::CheckPqP,
    Fault::CheckPqQ,
    Fault::DataFromP,
    Fault::DataFromQ,
    Fault::TwoDataX,
    Fault::TwoDataY,
    Fault::TwoDataSwapped,
];

/// The reference, but for one fault.
#[derive(Debug)]
struct Planted(Fault);

impl Planted {
    fn spoil(&self, fault: Fault, out: &mut [u8]) {
        if self.0 == fault {
            *out.last_mut().expect("faults are planted in bytes") ^= 1;
        }
    }
}

impl Kernel for Planted {
    fn name(&self) -> &'static str {
        "planted"
    }

    fn xor_gen(&self, p: &mut [u8], sources: &[&[u8]]) {
        reference().xor_gen(p, sources);
        self.spoil(Fault::XorGen, p);
    }

    fn xor_gen_stream(&self, p: &mut [u8], sources: &[&[u8]]) {
        reference().xor_gen(p, sources);
        self.spoil(Fault::XorGenStream, p);
    }

    fn pq_gen(&self, p: &mut [u8], q: &mut [u8], sources: &[&[u8]], exponents: &[u8]) {
        reference().pq_gen(p, q, sources, exponents);
        self.spoil(Fault::PqGenP, p);
        self.spoil(Fault::PqGenQ, q);
    }

    fn pq_gen_stream(&self, p: &mut [u8], q: &mut [u8], sources: &[&[u8]], exponents: &[u8]) {
        reference().pq_gen(p, q, sources, exponents);
        self.spoil(Fault::PqGenStreamP, p);
        self.spoil(Fault::PqGenStreamQ, q);
    }

    fn q_gen(&self, q: &mut [u8], sources: &[&[u8]], exponents: &[u8]) {
        reference().q_gen(q, sources, exponents);
        self.spoil(Fault::QGen, q);
    }

    fn p_delta(&self, p: &mut [u8], old: &[u8], new: &[u8]) {
        reference().p_delta(p, old, new);
        self.spoil(Fault::PDelta, p);
    }

    fn q_delta(&self, q: &mut [u8], old: &[u8], new: &[u8], exponent: u8) {
        reference().q_delta(q, old, new, exponent);
        self.spoil(Fault::QDelta, q);
    }

    fn pq_delta(&self, p: &mut [u8], q: &mut [u8], old: &[u8], new: &[u8], exponent: u8) {
        reference().pq_delta(p, q, old, new, exponent);
        self.spoil(Fault::PqDeltaP, p);
        self.spoil(Fault::PqDeltaQ, q);
    }

    fn check_p(&self, p: &[u8], sources: &[&[u8]]) -> bool {
        reference().check_p(p, sources) || self.0 == Fault::CheckP
    }

    fn check_pq(&self, p: &[u8], q: &[u8], sources: &[&[u8]], exponents: &[u8]) -> Mismatch {
        let found = reference().check_pq(p, q, sources, exponents);
        let (p, q) = (self.0 != Fault::CheckPqP, self.0 != Fault::CheckPqQ);
        Mismatch { p: found.p && p, q: found.q && q }
    }

    fn recover_data_from_p(&self, out: &mut [u8], p: &[u8], others: &[&[u8]]) {
        reference().recover_data_from_p(out, p, others);
        self.spoil(Fault::DataFromP, out);
    }

    fn recover_data_from_q(
        &self,
        out: &mut [u8],
        q: &[u8],
        others: &[&[u8]],
        exponents: &[u8],
        missing_exponent: u8,
    ) {
        reference().recover_data_from_q(out, q, others, exponents, missing_exponent);
        self.spoil(Fault::DataFromQ, out);
    }

    fn recover_two_data(
        &self,
        x: Lost<'_>,
        y: Lost<'_>,
        p: &[u8],
        q: &[u8],
        others: &[&[u8]],
        exponents: &[u8],
    ) {
        let (x_exponent, y_exponent) = match self.0 {
            Fault::TwoDataSwapped => (y.exponent, x.exponent),
            _ => (x.exponent, y.exponent),
        };
        let right_x = Lost { out: &mut *x.out, exponent: x_exponent };
        let right_y = Lost { out: &mut *y.out, exponent: y_exponent };
        reference().recover_two_data(right_x, right_y, p, q, others, exponents);
        self.spoil(Fault::TwoDataX, x.out);
        self.spoil(Fault::TwoDataY, y.out);
    }
}

#[test]
fn every_fault_is_found() {
    for fault in FAULTS {
        let stripe = Stripe::new(md_order(4, 0), 100, Placement::Scattered);
        let found = stripe.check_all(&Planted(fault));
        assert!(found.is_err(), "{fault:?} was not found");
    }
}

#[test]
fn a_byte_written_outside_a_slice_is_found() {
    for at in [0, 11] {
        let mut guarded = Guarded::new(&[7; 10], Placement::Aligned, 0);
        assert_eq!(guarded.expect("out", &[7; 10]), Ok(()));
        guarded.with_guards()[at] ^= 1;
        let found = guarded.expect("out", &[7; 10]);
        assert_eq!(found, Err("out: wrote outside its slice".to_owned()));
    }
}
