// Runs the guide's JavaScript: driver.mjs KEY ID TIMESTAMP SIGNATURES <body
import { readFileSync } from "node:fs";
import { verify } from "./snippet.mjs";

const [key, id, timestamp, signatures] = process.argv.slice(2);
const headers = { "webhook-id": id, "webhook-timestamp": timestamp, "webhook-signature": signatures };
try {
  verify(headers, readFileSync(0), key);
} catch (error) {
  console.log(error.message);
  process.exitCode = 1;
}
