// An edge node with one inverter, on npm sparkplug-client. The first line of stdin says where and as whom; every
// further line is a thing to do. Births go out on every connection and whenever a rebirth is asked for.
"use strict";

const readline = require("node:readline");
const Long = require("long");
const sparkplug = require("sparkplug-client");

const DEVICE = "inv01";
// 2^53 + 1 is the first whole number that a double does not have.
const ENERGY = Long.fromString("9007199254740993", true);
let client;

function births() {
  const at = Date.now();
  client.publishNodeBirth({
    timestamp: at,
    metrics: [{ name: "Node Control/Rebirth", type: "Boolean", value: false, timestamp: at }],
  });
  client.publishDeviceBirth(DEVICE, {
    timestamp: at,
    metrics: [
      { name: "Inverter/W", alias: 1, type: "Float", value: 4213.5, timestamp: at },
      { name: "Inverter/energy", alias: 2, type: "UInt64", value: ENERGY, timestamp: at },
      { name: "Inverter/temp", alias: 4, type: "Int16", value: -12, timestamp: at },
      { name: "Inverter/signal", alias: 5, type: "Int8", value: -1, timestamp: at },
      { name: "Inverter/state", alias: 6, type: "String", value: "MPPT", timestamp: at },
    ],
  });
}

function publish(metrics, options) {
  const at = Date.now();
  const stamped = metrics.map((metric) => ({ timestamp: at, ...metric }));
  client.publishDeviceData(DEVICE, { timestamp: at, metrics: stamped }, options);
}

const TO_DO = {
  data() {
    publish([{ alias: 4, type: "Int16", value: -13 }, { alias: 2, type: "UInt64", value: ENERGY.add(2) }]);
    publish([{ name: "Inverter/signal", alias: 5, type: "Int8", value: -2 }]);
    publish([{ name: "Inverter/W", alias: 1, type: "Float", value: null }]);
    publish([
      { name: "Inverter/energy", alias: 2, type: "UInt64", value: ENERGY.sub(2), isHistorical: true,
        timestamp: Date.now() - 3600000 },
    ]);
    // Later than -13 by its milliseconds too: two values of one instant are a conflict.
    setTimeout(() => publish([{ alias: 4, type: "Int16", value: -14 }], { compress: true, algorithm: "GZIP" }), 20);
  },
  "device death"() {
    client.publishDeviceDeath(DEVICE, { timestamp: Date.now() });
  },
  stop() {
    client.on("close", () => process.exit(0));
    client.stop();
  },
};

function start(given) {
  client = sparkplug.newClient({
    serverUrl: `mqtt://${given.host}:${given.port}`, username: given.user, password: given.password,
    groupId: given.group, edgeNode: given.edge, clientId: given.edge, version: given.namespace, publishDeath: true,
  });
  client.on("birth", births);
  const command = (payload) => {
    if (payload.metrics.some((metric) => metric.name === "Node Control/Rebirth" && metric.value === true)) births();
  };
  client.on("ncmd", command);
  // What is behind a site's bridge has a longer topic, in which the client does not find its own name.
  client.on("message", (topic, payload) => topic.includes("/NCMD/") && command(payload));
}

const lines = readline.createInterface({ input: process.stdin });
lines.once("line", (first) => {
  start(JSON.parse(first));
  lines.on("line", (line) => TO_DO[line]());
});
