//! The name server of a sandbox over both transports.

use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{Name, RecordType};
use tokio::net::UdpSocket;

use super::broker::{Broker, limited};
use super::host::Ca;

#[tokio::test]
async fn names_are_answered_without_asking_anybody() {
    let broker = Broker::start(Ca::new(), &[], limited(&[]), None);
    let mut question = Message::query();
    question.add_query(Query::query(Name::from_ascii("nobody-knows-this.example.").unwrap(), RecordType::A));
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(&question.to_vec().unwrap(), broker.dns).await.unwrap();
    let mut answer = [0; 512];
    let (count, _) = socket.recv_from(&mut answer).await.unwrap();
    let answer = Message::from_vec(&answer[..count]).unwrap();
    assert_eq!((answer.metadata.id, answer.answers.len()), (question.metadata.id, 1));
}
