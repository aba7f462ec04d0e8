//! The name server of a sandbox. Every name has an address that exists in the sandbox alone; nobody else is asked, so a name
//! carries nothing out. Whether its host can be reached is decided when somebody connects.

use std::net::Ipv4Addr;
use std::sync::Arc;

use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::sandboxes::Sandbox;
use ostler_core::egress::policy;

use crate::limits;

/// The addresses of names: 198.18.0.0/15, which no network routes (RFC 2544).
const FIRST: u32 = 0xc612_0000;
const BITS: u32 = 17;

/// The address of a name.
fn address(name: &str) -> Ipv4Addr {
    let digest = Sha256::digest(name.as_bytes());
    let number = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]) % ((1 << BITS) - 2) + 1;
    Ipv4Addr::from(FIRST + number)
}

/// The name as it is asked for by a program.
fn plain(name: &Name) -> Option<String> {
    policy::normal(&name.to_ascii())
}

/// The answer to a question; none to what is no question.
fn answer(asked: &[u8]) -> Option<Vec<u8>> {
    let question = Message::from_vec(asked).ok()?;
    if question.metadata.message_type != MessageType::Query {
        return None;
    }
    let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
    answer.metadata.recursion_desired = question.metadata.recursion_desired;
    answer.metadata.recursion_available = true;
    let [query] = &question.queries[..] else {
        answer.metadata.response_code = ResponseCode::FormErr;
        return answer.to_vec().ok();
    };
    answer.add_query(query.clone());
    if question.metadata.op_code != OpCode::Query || query.query_class() != DNSClass::IN {
        answer.metadata.response_code = ResponseCode::NotImp;
        return answer.to_vec().ok();
    }
    match plain(query.name()) {
        // What is asked besides addresses has no answer: with HTTPS records a client would hide the name that it wants.
        Some(name) if name.contains('.') && name.parse::<std::net::IpAddr>().is_err() && !name.ends_with(".arpa") => {
            if query.query_type() == RecordType::A {
                let record = Record::from_rdata(query.name().clone(), limits::NAME_TTL, RData::A(A(address(&name))));
                answer.add_answer(record);
            }
        }
        _ => answer.metadata.response_code = ResponseCode::NXDomain,
    }
    answer.to_vec().ok()
}

/// Answers over UDP.
pub(crate) async fn udp(sandbox: Arc<Sandbox>, socket: UdpSocket) {
    let mut buffer = vec![0; limits::NAME_BYTES];
    let serving = async {
        loop {
            // An error is of one packet, such as a port that is closed again.
            let Ok((count, from)) = socket.recv_from(&mut buffer).await else {
                tokio::time::sleep(limits::ACCEPT_PAUSE).await;
                continue;
            };
            if let Some(answer) = answer(&buffer[..count]) {
                let _ = socket.send_to(&answer, from).await;
            }
        }
    };
    tokio::select! {
        () = serving => {}
        () = sandbox.ended.cancelled() => {}
    }
}

/// Answers over TCP.
pub(crate) async fn tcp(mut stream: TcpStream) {
    let serving = async {
        loop {
            let length = stream.read_u16().await?;
            let mut asked = vec![0; usize::from(length)];
            stream.read_exact(&mut asked).await?;
            let Some(answer) = answer(&asked) else { return Ok::<_, std::io::Error>(()) };
            stream.write_u16(u16::try_from(answer.len()).map_err(std::io::Error::other)?).await?;
            stream.write_all(&answer).await?;
        }
    };
    let _ = timeout(limits::HEAD_TIMEOUT, serving).await;
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::Query;

    use super::*;

    fn asked(name: &str, kind: RecordType) -> Message {
        let mut message = Message::query();
        message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        Message::from_vec(&answer(&message.to_vec().unwrap()).unwrap()).unwrap()
    }

    #[test]
    fn every_name_has_an_address_and_nothing_else() {
        let found = asked("API.example.com.", RecordType::A);
        let [record] = &found.answers[..] else { panic!("{found:?}") };
        let RData::A(A(first)) = record.data else { panic!("{record:?}") };
        assert!(first.octets()[0] == 198 && [18, 19].contains(&first.octets()[1]), "{first}");
        assert_eq!(asked("api.example.com.", RecordType::A).answers[0].data, RData::A(A(first)), "always the same");
        for kind in [RecordType::AAAA, RecordType::HTTPS, RecordType::SVCB, RecordType::TXT, RecordType::ANY] {
            let found = asked("api.example.com.", kind);
            assert!(found.answers.is_empty() && found.metadata.response_code == ResponseCode::NoError, "{kind}");
        }
        for name in ["localhost.", "1.0.0.127.in-addr.arpa.", "127.0.0.1."] {
            assert_eq!(asked(name, RecordType::A).metadata.response_code, ResponseCode::NXDomain, "{name}");
        }
    }

    #[test]
    fn what_is_no_question_has_no_answer() {
        assert!(answer(b"").is_none() && answer(b"nonsense").is_none());
        let said = Message::response(1, OpCode::Query).to_vec().unwrap();
        assert!(answer(&said).is_none());
    }
}
