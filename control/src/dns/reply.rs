//! A request to its response: codes, truncation, EDNS.

use std::collections::HashSet;

use hickory_proto::op::{Edns, Header, Message, MessageType, Metadata, OpCode, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder, BinEncodable, BinEncoder};

use super::Zone;
use super::zone::Found;

/// How a message came, and how its response goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// In a datagram: what does not fit is cut off, and the client asks again by TCP.
    Udp,
    /// In a stream, with its length before it.
    Tcp,
}

/// The most that a datagram holds for a client that says nothing (RFC 1035, section 4.2.1).
const PLAIN_BYTES: u16 = 512;

/// The most that a datagram holds for a client that allows more: it is not to be fragmented
/// (dnsflagday.net/2020).
const EDNS_BYTES: u16 = 1232;

/// The response to a request; none to what is no request.
pub fn reply(zone: &Zone, request: &[u8], transport: Transport) -> Option<Vec<u8>> {
    let header = Header::read(&mut BinDecoder::new(request)).ok()?;
    if header.metadata.message_type != MessageType::Query {
        return None;
    }
    let mut response = Message::new(0, MessageType::Response, header.metadata.op_code);
    response.metadata = Metadata::response_from_request(&header.metadata);
    // Nothing is ever forwarded: all names that there are, are here.
    response.metadata.recursion_available = true;
    let mut room = PLAIN_BYTES;
    match Message::from_vec(request) {
        Ok(request) => {
            room = request.max_payload().min(EDNS_BYTES);
            answer(zone, &request, &mut response);
        }
        Err(_) => response.metadata.response_code = ResponseCode::FormErr,
    }
    match transport {
        Transport::Udp => encode(&response, room),
        Transport::Tcp => encode(&response, u16::MAX),
    }
}

fn answer(zone: &Zone, request: &Message, response: &mut Message) {
    if let Some(edns) = &request.edns {
        let mut own = Edns::new();
        own.set_max_payload(EDNS_BYTES);
        response.set_edns(own);
        if edns.version() > 0 {
            response.metadata.response_code = ResponseCode::BADVERS;
            return;
        }
    }
    let [query] = request.queries.as_slice() else {
        response.metadata.response_code = ResponseCode::FormErr;
        return;
    };
    response.add_query(query.clone());
    let (code, is_ours) = match (request.metadata.op_code, query.query_class(), query.query_type()) {
        (OpCode::Query, _, RecordType::AXFR | RecordType::IXFR) => (ResponseCode::Refused, false),
        (OpCode::Query, DNSClass::IN | DNSClass::ANY, _) => (ResponseCode::NoError, true),
        (OpCode::Query, _, _) => (ResponseCode::Refused, false),
        _ => (ResponseCode::NotImp, false),
    };
    response.metadata.response_code = code;
    if !is_ours {
        return;
    }
    let Found { code, mut answers, authority } = zone.look_up(query.name(), query.query_type());
    response.metadata.authoritative = true;
    response.metadata.response_code = code;
    // Each client begins elsewhere, so that they spread over a headless Service's pods.
    if let count @ 2.. = answers.len()
        && answers.iter().all(|record| record.record_type() == query.query_type())
    {
        answers.rotate_left(usize::from(request.metadata.id) % count);
    }
    response.add_additionals(targets(zone, &answers));
    response.add_answers(answers);
    response.add_authorities(authority);
}

/// The addresses of the hosts that SRV records name, so that nobody has to ask once more.
fn targets(zone: &Zone, answers: &[Record]) -> Vec<Record> {
    let mut told = HashSet::new();
    let targets = answers.iter().filter_map(|record| match &record.data {
        RData::SRV(srv) => Some(&srv.target),
        _ => None,
    });
    let of = |target: &Name| {
        let addresses = [RecordType::A, RecordType::AAAA].map(|kind| zone.look_up(target, kind).answers);
        addresses.into_iter().flatten()
    };
    targets.filter(|target| told.insert(*target)).flat_map(of).collect()
}

/// The message, with nothing but its question if it has more than `room` bytes.
fn encode(message: &Message, room: u16) -> Option<Vec<u8>> {
    let write = |message: &Message| {
        let mut bytes = Vec::with_capacity(PLAIN_BYTES.into());
        let mut encoder = BinEncoder::new(&mut bytes);
        encoder.set_max_size(u16::MAX);
        message.emit(&mut encoder).ok().map(|()| bytes)
    };
    let whole = write(message)?;
    if whole.len() <= room.into() {
        return Some(whole);
    }
    // What may be left out goes first (RFC 2181, section 9).
    if !message.additionals.is_empty() {
        let mut shorter = message.clone();
        shorter.additionals.clear();
        return encode(&shorter, room);
    }
    let mut cut = message.clone();
    cut.answers.clear();
    cut.authorities.clear();
    cut.metadata.truncation = true;
    write(&cut)
}
