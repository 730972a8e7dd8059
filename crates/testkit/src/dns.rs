//! A name server for the namespaces of the AWS double, as the VPC's resolver is for those of Cloud Map.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use hickory_proto::op::{Edns, Message, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, SOA};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinHandle;

use crate::aws::{Aws, Resolution, Zones};
use crate::net::own_loopback;

const LARGEST_QUESTION: usize = 4096;
/// Route 53's own; Cloud Map's SOA property sets the TTL of the record, not this.
const SOA_MINIMUM: u32 = 86_400;

/// A running name server on a loopback address of its own, over UDP and TCP. Ends when dropped.
///
/// It answers A questions from the instances of the double's services. A name that nobody is registered under is
/// NXDOMAIN, as there is no record set for it; a name outside the namespaces is REFUSED.
#[derive(Debug)]
pub struct DnsServer {
    address: SocketAddr,
    state: Arc<State>,
    servers: [JoinHandle<()>; 2],
}

/// What a question gets instead of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disturbance {
    /// There is no such name.
    NxDomain,
    /// The server could not find out.
    ServFail,
    /// Nothing at all.
    Silence,
}

/// A question that was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// When it came.
    pub at: Instant,
    /// The name, in lower case and without a trailing dot.
    pub name: String,
    /// The type of record, for example `A`.
    pub record_type: String,
    /// The answer's code as DNS tools print it, for example `NXDomain`; none if there was no answer.
    pub answer: Option<String>,
}

#[derive(Debug)]
struct State {
    zones: Zones,
    trouble: Mutex<Trouble>,
    questions: Mutex<Vec<Question>>,
}

#[derive(Debug, Default)]
struct Trouble {
    all: Option<Disturbance>,
    by_name: BTreeMap<String, Disturbance>,
}

impl DnsServer {
    /// Starts a server for the namespaces of `aws`.
    pub async fn start(aws: &Aws) -> io::Result<Self> {
        let address = own_loopback()?;
        let udp = UdpSocket::bind(address).await?;
        let tcp = TcpListener::bind(address).await?;
        let state = Arc::new(State { zones: aws.zones(), trouble: Mutex::default(), questions: Mutex::default() });
        let servers =
            [tokio::spawn(serve_udp(udp, Arc::clone(&state))), tokio::spawn(serve_tcp(tcp, Arc::clone(&state)))];
        Ok(Self { address, state, servers })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Disturbs all questions for a name until it is [healed](Self::heal).
    pub fn disturb(&self, name: &str, disturbance: Disturbance) {
        self.state.trouble().by_name.insert(name.to_ascii_lowercase(), disturbance);
    }

    /// Disturbs all questions but those for names with a disturbance of their own.
    pub fn disturb_all(&self, disturbance: Disturbance) {
        self.state.trouble().all = Some(disturbance);
    }

    /// Answers questions for a name again, unless all are disturbed.
    pub fn heal(&self, name: &str) {
        self.state.trouble().by_name.remove(&name.to_ascii_lowercase());
    }

    /// Answers everything again.
    pub fn heal_all(&self) {
        *self.state.trouble() = Trouble::default();
    }

    /// All questions so far, repeated ones included.
    pub fn questions(&self) -> Vec<Question> {
        self.state.questions().clone()
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        for server in &self.servers {
            server.abort();
        }
    }
}

async fn serve_udp(socket: UdpSocket, state: Arc<State>) {
    let mut buffer = [0; LARGEST_QUESTION];
    loop {
        // An error is an earlier answer that could not be delivered.
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else { continue };
        if let Some(reply) = state.reply(&buffer[..length]) {
            // A client that has gone needs no answer.
            let _ = socket.send_to(&reply, from).await;
        }
    }
}

async fn serve_tcp(listener: TcpListener, state: Arc<State>) {
    while let Ok((stream, _)) = listener.accept().await {
        let state = Arc::clone(&state);
        // A client that goes away in the middle is its own affair.
        tokio::spawn(async move { drop(serve_stream(stream, &state).await) });
    }
}

async fn serve_stream(mut stream: TcpStream, state: &State) -> io::Result<()> {
    loop {
        let mut question = vec![0; stream.read_u16().await?.into()];
        stream.read_exact(&mut question).await?;
        if let Some(reply) = state.reply(&question) {
            stream.write_u16(u16::try_from(reply.len()).expect("eight addresses are few bytes")).await?;
            stream.write_all(&reply).await?;
        }
    }
}

impl State {
    /// What is not a question is not answered.
    fn reply(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let question = Message::from_vec(bytes).ok()?;
        let query = question.queries.first().filter(|_| question.metadata.op_code == OpCode::Query)?;
        let name = query.name().to_ascii().trim_end_matches('.').to_ascii_lowercase();
        let mut reply = Message::response(question.metadata.id, OpCode::Query);
        reply.metadata.recursion_desired = question.metadata.recursion_desired;
        reply.metadata.recursion_available = true;
        reply.add_query(query.clone());
        if question.edns.is_some() {
            reply.set_edns(Edns::new());
        }
        let disturbance = self.trouble().of(&name);
        match disturbance {
            None => self.answer(query.name(), &name, query.query_type(), &mut reply),
            Some(Disturbance::NxDomain) => reply.metadata.response_code = ResponseCode::NXDomain,
            Some(Disturbance::ServFail) => reply.metadata.response_code = ResponseCode::ServFail,
            Some(Disturbance::Silence) => {}
        }
        let answered = disturbance != Some(Disturbance::Silence);
        self.questions().push(Question {
            at: Instant::now(),
            name,
            record_type: query.query_type().to_string(),
            answer: answered.then(|| format!("{:?}", reply.metadata.response_code)),
        });
        answered.then(|| reply.to_vec().expect("a reply of short names can be written"))
    }

    /// `asked` is the name as it was spelt in the question.
    fn answer(&self, asked: &Name, name: &str, record_type: RecordType, reply: &mut Message) {
        match self.zones.resolve(name) {
            Resolution::Addresses { addresses, ttl, .. } if record_type == RecordType::A => {
                let record = |address: Ipv4Addr| Record::from_rdata(asked.clone(), ttl, RData::A(A(address)));
                reply.add_answers(addresses.into_iter().map(record));
            }
            Resolution::Addresses { zone, soa_ttl, .. } | Resolution::NoData { zone, soa_ttl } => {
                reply.add_authority(start_of_authority(&zone, soa_ttl));
            }
            Resolution::NoSuchName { zone, soa_ttl } => {
                reply.metadata.response_code = ResponseCode::NXDomain;
                reply.add_authority(start_of_authority(&zone, soa_ttl));
            }
            Resolution::Foreign => reply.metadata.response_code = ResponseCode::Refused,
        }
    }

    fn trouble(&self) -> MutexGuard<'_, Trouble> {
        self.trouble.lock().expect("nothing panics while it holds this")
    }

    fn questions(&self) -> MutexGuard<'_, Vec<Question>> {
        self.questions.lock().expect("nothing panics while it holds this")
    }
}

impl Trouble {
    fn of(&self, name: &str) -> Option<Disturbance> {
        self.by_name.get(name).copied().or(self.all)
    }
}

/// With its TTL a resolver remembers that there is no such name.
fn start_of_authority(zone: &str, ttl: u32) -> Record {
    let name = |text: &str| Name::from_ascii(format!("{text}.")).expect("the double's names are names");
    let (server, owner) = (name("ns-1536.awsdns-00.co.uk"), name("awsdns-hostmaster.amazon.com"));
    let data = SOA::new(server, owner, 1, 7200, 900, 1_209_600, SOA_MINIMUM);
    Record::from_rdata(name(zone), ttl, RData::SOA(data))
}
