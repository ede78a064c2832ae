//! A question for a name's addresses, and what an answer to it says (RFC 1035, section 4).

use std::io;
use std::net::IpAddr;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};

/// A question that is to be sent.
pub(super) struct Question {
    id: u16,
    pub(super) bytes: Vec<u8>,
}

/// What an answer says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// The addresses under the name; it may have none.
    Addresses(Vec<IpAddr>),
    /// There is no such name.
    NoName,
    /// There is more than a datagram takes: ask by TCP (RFC 7766, section 5).
    Truncated,
    /// The server cannot or will not say.
    Failure(ResponseCode),
}

impl Question {
    pub(super) fn new(id: u16, name: &str, kind: RecordType) -> io::Result<Self> {
        let name = Name::from_ascii(name).map_err(io::Error::other)?;
        let mut message = Message::new(id, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(name, kind));
        Ok(Self { id, bytes: message.to_vec().map_err(io::Error::other)? })
    }

    /// What bytes say that have come back; `None` if they answer something else.
    pub(super) fn answered_by(&self, bytes: &[u8]) -> Option<Said> {
        let message = Message::from_vec(bytes).ok().filter(|message| message.metadata.id == self.id)?;
        if message.metadata.truncation {
            return Some(Said::Truncated);
        }
        Some(match message.metadata.response_code {
            ResponseCode::NoError => {
                let addresses = message.answers.iter().filter_map(|record| match &record.data {
                    RData::A(address) => Some(IpAddr::from(address.0)),
                    RData::AAAA(address) => Some(IpAddr::from(address.0)),
                    _ => None,
                });
                Said::Addresses(addresses.collect())
            }
            ResponseCode::NXDomain => Said::NoName,
            failure => Said::Failure(failure),
        })
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::Record;
    use hickory_proto::rr::rdata::A;

    use super::*;

    fn said(change: impl FnOnce(&mut Message)) -> Option<Said> {
        let question = Question::new(7, "web.shop.", RecordType::A).unwrap();
        let mut answer = Message::from_vec(&question.bytes).unwrap();
        answer.metadata.message_type = MessageType::Response;
        change(&mut answer);
        question.answered_by(&answer.to_vec().unwrap())
    }

    #[test]
    fn an_answer_says_what_its_code_and_flags_say() {
        assert_eq!(said(|_| ()), Some(Said::Addresses(Vec::new())));
        let a = |answer: &mut Message| {
            let name = Name::from_ascii("web.shop.").unwrap();
            answer.add_answer(Record::from_rdata(name, 5, RData::A(A::new(10, 0, 0, 1))));
        };
        assert_eq!(said(a), Some(Said::Addresses(vec![IpAddr::from([10, 0, 0, 1])])));
        let cut = |answer: &mut Message| {
            a(answer);
            answer.metadata.truncation = true;
        };
        assert_eq!(said(cut), Some(Said::Truncated));
        for (code, meaning) in [
            (ResponseCode::NXDomain, Said::NoName),
            (ResponseCode::ServFail, Said::Failure(ResponseCode::ServFail)),
            (ResponseCode::Refused, Said::Failure(ResponseCode::Refused)),
        ] {
            assert_eq!(said(|answer| answer.metadata.response_code = code), Some(meaning));
        }
        assert_eq!(said(|answer| answer.metadata.id = 8), None, "another question's");
    }

    #[test]
    fn what_is_no_name_is_told() {
        assert!(Question::new(1, "a..b.", RecordType::A).is_err());
    }
}
