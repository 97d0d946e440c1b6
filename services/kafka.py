"""Apache Kafka: one broker that is its own controller (KRaft), from its Maven artifacts and the Java of the machine.

Beside the plain listener it has one with SASL_SSL and SCRAM, for the tests of exactly that.
"""

from __future__ import annotations

import socket
import struct
from pathlib import Path

from services.server import HOST, NotHealthy, Server, run_tool

VERSION = "4.1.0"
# What the SASL_SSL listener lets in. It listens on the loopback only, and what it guards is test data.
SASL_USER, SASL_PASSWORD = "recommender", "correct horse"

_POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>local</groupId><artifactId>kafka-broker</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version>
    </dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
"""
_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
_HEAP = ("-Xms128m", "-Xmx512m")
_CLUSTER_ID = "cmVjb21tZW5kZXItbG9jYQ"
_INSTALL_S, _TOOL_S, _ASK_S = 900.0, 60.0, 2.0
# ApiVersions version 0, correlation id 1, no client id: every broker answers it, before any login.
_API_VERSIONS = struct.pack(">hhih", 18, 0, 1, -1)


class Kafka(Server):
    """A broker on ``port``, its controller on the next one, SASL_SSL on the one after that."""

    name = "kafka"
    variable = "EVENTS_URL"
    pin = f"kafka-{VERSION}"
    default_port = 19092

    @property
    def url(self) -> str:
        """The log with the names of its topics as they are by default."""
        return f"kafka://{HOST}:{self.port}/user_events"

    def url_of(self, space: str) -> str:
        """All topics begin with the name of the space."""
        return f"kafka://{HOST}:{self.port}/{space}.user_events?prefix={space}."

    @property
    def sasl_port(self) -> int:
        """The port of the listener with SASL_SSL; clients are to trust ``certificate.pem`` in the data folder."""
        return self.port + 2

    def install(self, cache: Path) -> None:
        """Have Maven fetch the broker and all it needs. Raises ``CannotInstall``."""
        jars = cache / self.pin
        (jars / "pom.xml").write_text(_POM)
        maven = ["mvn", "-q", "-B", "--strict-checksums", "-f", str(jars / "pom.xml"), _COPY]
        run_tool([*maven, "-DincludeScope=runtime", f"-DoutputDirectory={jars}"], timeout_s=_INSTALL_S)

    def prepare(self, cache: Path, data: Path) -> None:
        """Write the settings; the first time make the certificate and an empty log. Raises ``CannotInstall``."""
        (data / "server.properties").write_text(self._properties(data))
        _make_certificate(data)
        if not (data / "log" / "meta.properties").exists():
            scram = f"SCRAM-SHA-512=[name={SASL_USER},password={SASL_PASSWORD}]"
            format_it = ["kafka.tools.StorageTool", "format", "-t", _CLUSTER_ID, "-S", scram]
            run_tool([*self._java(cache), *format_it, "-c", str(data / "server.properties")], timeout_s=_TOOL_S)

    def command(self, cache: Path, data: Path) -> list[str]:
        """Return the command of the broker."""
        return [*self._java(cache), "kafka.Kafka", str(data / "server.properties")]

    def healthy(self) -> str:
        """Ask what the broker speaks; the version is that of its jars. Raises ``NotHealthy``."""
        try:
            with socket.create_connection((HOST, self.port), _ASK_S) as connection:
                connection.sendall(struct.pack(">i", len(_API_VERSIONS)) + _API_VERSIONS)
                answer = b""
                while len(answer) < 10 and (part := connection.recv(10 - len(answer))):
                    answer += part
        except OSError as error:
            raise NotHealthy(f"Kafka on port {self.port}: {error}") from error
        # Length, correlation id, error code.
        if len(answer) < 10 or struct.unpack(">iih", answer)[1:] != (1, 0):
            raise NotHealthy(f"what answers on port {self.port} is no Kafka broker")
        return VERSION

    def _java(self, cache: Path) -> list[str]:
        return ["java", *_HEAP, "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", f"{cache / self.pin}/*"]

    def _properties(self, data: Path) -> str:
        listeners = {"PLAINTEXT": self.port, "CONTROLLER": self.port + 1, "SASL_SSL": self.sasl_port}
        addresses = {name: f"{name}://{HOST}:{port}" for name, port in listeners.items()}
        lines = {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.voters": f"1@{HOST}:{self.port + 1}",
            "listeners": ",".join(addresses.values()),
            "advertised.listeners": f"{addresses['PLAINTEXT']},{addresses['SASL_SSL']}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": data / "log",
            # The adapter creates its topics itself, with the right settings.
            "auto.create.topics.enable": "false",
            "offsets.topic.num.partitions": 1,
            "offsets.topic.replication.factor": 1,
            "transaction.state.log.num.partitions": 1,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "share.coordinator.state.topic.num.partitions": 1,
            "share.coordinator.state.topic.replication.factor": 1,
            "share.coordinator.state.topic.min.isr": 1,
            # Tests make many small topics: an index file per partition need not be 10 MB.
            "log.index.size.max.bytes": 1_048_576,
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": (
                "org.apache.kafka.common.security.scram.ScramLoginModule required;"
            ),
            "listener.name.sasl_ssl.ssl.keystore.type": "PEM",
            "listener.name.sasl_ssl.ssl.keystore.location": data / "keystore.pem",
        }
        return "".join(f"{name}={value}\n" for name, value in lines.items())


def _make_certificate(data: Path) -> None:
    """Make the certificate that clients of the SASL_SSL listener are to trust: ``certificate.pem``."""
    if (data / "keystore.pem").exists():
        return
    key, certificate = data / "key.pem", data / "certificate.pem"
    new = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3650"]
    name = ["-subj", f"/CN={HOST}", "-addext", f"subjectAltName=IP:{HOST}"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    run_tool([*new, *name, *files], timeout_s=_TOOL_S)
    key.chmod(0o600)
    both = data / "keystore.pem"
    both.touch(mode=0o600)
    both.write_text(key.read_text() + certificate.read_text())
