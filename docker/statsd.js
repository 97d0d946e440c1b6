// StatsD as stores/metric_catalogue.py counts on it: names without the legacy namespace, these quantiles.
{
  servers: [{ server: "./servers/udp", address: "0.0.0.0", port: 8125 }],
  backends: ["./backends/graphite"],
  graphiteHost: "127.0.0.1",
  graphitePort: 2003,
  graphite: { legacyNamespace: false },
  flushInterval: 10000,
  percentThreshold: [50, 90, 99],
}
