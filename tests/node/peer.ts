// The record as a TypeScript service reads and writes it, over TCP.
//
//   peer.js serve                         listens, prints a port for each format, sends every record back
//   peer.js call FORMAT PORT SEED COUNT   sends records of its own, and checks that they come back
//
// Every record that it sends says in `described` what it holds, in a form that has nothing to do with either format.

import "reflect-metadata";

import * as assert from "node:assert";
import { once } from "node:events";
import * as net from "node:net";

import { decode, encode } from "@msgpack/msgpack";
import { plainToInstance, Type } from "class-transformer";

class ChatCompletionResponse {
  @Type(() => Date)
  timestamp?: Date;
  generationId?: string;
  sessionId?: string;
  choices?: Record<string, unknown>[];
  stream?: boolean;
  cost?: number;
  latency?: number;
  described?: string;
}

const FORMATS = ["json", "msgpack", "ndjson", "frames"] as const;
type Format = (typeof FORMATS)[number];

const isJson = (format: Format) => format === "json" || format === "ndjson";
// Of these a connection carries many; of the others it carries one message, up to its end.
const isStream = (format: Format) => format === "ndjson" || format === "frames";

const OPTIONS = { useBigInt64: true, maxDepth: 1000 };

function read(format: Format, message: Buffer): ChatCompletionResponse {
  const plain = isJson(format) ? JSON.parse(message.toString("utf8")) : decode(message, OPTIONS);
  return plainToInstance(ChatCompletionResponse, plain as object);
}

function write(format: Format, record: ChatCompletionResponse): Buffer {
  const message = isJson(format) ? Buffer.from(JSON.stringify(record)) : Buffer.from(encode(record, OPTIONS));
  if (!isStream(format)) return message;
  if (isJson(format)) return Buffer.concat([message, Buffer.from("\n")]);
  const header = Buffer.alloc(4);
  header.writeUInt32BE(message.length);
  return Buffer.concat([header, message]);
}

/** Where the first whole message of `held` begins and ends, and where the next one starts. */
function place(format: Format, held: Buffer): [number, number, number] | undefined {
  if (isJson(format)) {
    const end = held.indexOf(0x0a);
    return end < 0 ? undefined : [0, end, end + 1];
  }
  const end = held.length < 4 ? Infinity : 4 + held.readUInt32BE(0);
  return held.length < end ? undefined : [4, end, end];
}

async function* messages(format: Format, socket: net.Socket): AsyncGenerator<Buffer> {
  let held: Buffer = Buffer.alloc(0);
  // Without the option the end of what is read would end what is written too.
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) {
    held = Buffer.concat([held, chunk as Buffer]);
    let found;
    while (isStream(format) && (found = place(format, held))) {
      yield held.subarray(found[0], found[1]);
      held = held.subarray(found[2]);
    }
  }
  if (isStream(format)) assert.strictEqual(held.length, 0, "the stream ended inside a record");
  else yield held;
}

const hex = (text: string) => Buffer.from(text, "utf8").toString("hex");

function describeNumber(value: number): string {
  const bits = Buffer.alloc(8);
  bits.writeDoubleBE(value);
  return bits.toString("hex");
}

function describe(value: unknown): string {
  if (typeof value === "string") return `"${hex(value)}"`;
  if (typeof value === "number") return describeNumber(value);
  if (typeof value === "bigint") return BigInt(Number(value)) === value ? describeNumber(Number(value)) : `${value}n`;
  if (value instanceof Date) return `${value.getTime()}ms`;
  if (Array.isArray(value)) return `[${value.map(describe).join()}]`;
  if (value === null || typeof value !== "object") return String(value);
  const fields = Object.entries(value).map(([key, inner]) => `${hex(key)}:${describe(inner)}`);
  return `{${fields.sort().join()}}`;
}

function describeRecord({ described, ...record }: ChatCompletionResponse): string {
  assert.ok(record.timestamp == null || record.timestamp instanceof Date, "the timestamp is no Date");
  return describe(Object.fromEntries(Object.entries(record).filter(([, value]) => value != null)));
}

async function send(socket: net.Socket, data: Buffer): Promise<void> {
  if (!socket.write(data)) await once(socket, "drain");
}

async function answer(format: Format, socket: net.Socket): Promise<void> {
  for await (const message of messages(format, socket)) {
    const record = read(format, message);
    record.described = describeRecord(record);
    await send(socket, write(format, record));
  }
  socket.end();
}

async function serve(): Promise<void> {
  const ports: Record<string, number> = {};
  for (const format of FORMATS) {
    const server = net.createServer({ allowHalfOpen: true }, (socket) => void answer(format, socket));
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    ports[format] = (server.address() as net.AddressInfo).port;
  }
  console.log(JSON.stringify(ports));
  process.stdin.resume();
  await once(process.stdin, "end");
  process.exit();
}

// Records of this side's own: whatever JavaScript can hold and the record allows.

type Random = () => number;

/** mulberry32: small, and the same everywhere. */
function seeded(seed: number): Random {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

const pick = <T>(random: Random, from: readonly T[]): T => from[Math.floor(random() * from.length)];
const times = <T>(random: Random, most: number, make: () => T): T[] =>
  Array.from({ length: Math.floor(random() * (most + 1)) }, make);

const TEXTS = ["", "a", "😀", "👩‍👩‍👧", "漢字", "é", "e\u0301", "\0", "\x1b", "\x7f", "\x85", "\u2028", "\u2029", "\n", "\r\n", '"', "\\", "/", "\ufeff", "\uffff", "</script>"];
const DATES = [0, 1, -1, 999, -999, 2 ** 31 * 1000, 2 ** 32 * 1000, 2 ** 34 * 1000, -62135596800000, 253402300799999];
const FLOATS = [0, 1, -1, 0.1, 5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, 1e21, 1e-7, 123456789.123456789];
const INTEGERS = [255, 256, 65535, 65536, 2 ** 31, 2 ** 32, -(2 ** 31) - 1, 2 ** 53 - 1, 2 ** 53, 2 ** 53 + 2, -(2 ** 53), 2 ** 63, 2 ** 64];
const BIGINTS = [2n ** 53n + 1n, -(2n ** 53n) - 1n, 2n ** 63n - 1n, -(2n ** 63n), 2n ** 64n - 1n, 0n];

const text = (random: Random) => times(random, 12, () => pick(random, TEXTS)).join("");
const float = (random: Random) => (random() < 0.5 ? pick(random, FLOATS) : (random() - 0.5) * 10 ** Math.floor(random() * 40));
const date = (random: Random) =>
  new Date(random() < 0.3 ? pick(random, DATES) : Math.floor(random() * 315537897600000) - 62135596800000);

function value(random: Random, format: Format, depth: number): unknown {
  const kind = Math.floor(random() * (depth ? 9 : 6));
  if (kind === 0) return null;
  if (kind === 1) return random() < 0.5;
  if (kind === 2) return pick(random, INTEGERS);
  if (kind === 3) return isJson(format) ? float(random) : pick(random, BIGINTS);
  if (kind === 4) return float(random);
  if (kind === 5) return text(random);
  if (kind === 6) return times(random, 4, () => value(random, format, depth - 1));
  return object(random, format, depth - 1);
}

function object(random: Random, format: Format, depth: number): Record<string, unknown> {
  return Object.fromEntries(times(random, 4, () => [text(random), value(random, format, depth)]));
}

function deep(depth: number): Record<string, unknown> {
  return depth ? { inner: [deep(depth - 1)] } : {};
}

function generate(random: Random, format: Format): ChatCompletionResponse {
  const record = new ChatCompletionResponse();
  if (random() < 0.9) record.timestamp = date(random);
  if (random() < 0.9) record.generationId = text(random);
  if (random() < 0.9) record.sessionId = text(random);
  if (random() < 0.9) record.choices = random() < 0.05 ? [deep(40)] : times(random, 3, () => object(random, format, 5));
  if (random() < 0.9) record.stream = random() < 0.5;
  if (random() < 0.9) record.cost = float(random);
  if (random() < 0.9) record.latency = float(random);
  record.described = describeRecord(record);
  return record;
}

async function exchange(format: Format, port: number, records: ChatCompletionResponse[]): Promise<void> {
  const socket = net.connect({ port, host: "127.0.0.1", allowHalfOpen: true });
  const sent = (async () => {
    for (const record of records) await send(socket, write(format, record));
    socket.end();
  })();
  let number = 0;
  for await (const message of messages(format, socket)) {
    assert.strictEqual(describeRecord(read(format, message)), records[number]?.described, `record ${number}`);
    number += 1;
  }
  assert.strictEqual(number, records.length, "as many came back as were sent");
  await sent;
}

async function call(format: Format, port: number, seed: number, count: number): Promise<void> {
  const random = seeded(seed);
  const records = Array.from({ length: count }, () => generate(random, format));
  if (isStream(format)) await exchange(format, port, records);
  else for (const record of records) await exchange(format, port, [record]);
  console.log(count);
}

const [, , command, format, ...numbers] = process.argv;
if (command === "serve") void serve();
else void call(format as Format, ...(numbers.map(Number) as [number, number, number]));
