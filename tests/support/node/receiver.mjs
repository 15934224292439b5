// Verifies each delivery with an npm package, `standardwebhooks` or `svix`, and prints the id of what verified.
import { createServer } from "node:http";

const { Webhook } = await import(process.argv[3]);
const webhook = new Webhook(process.argv[2]);

const server = createServer((request, response) => {
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", () => {
    try {
      webhook.verify(Buffer.concat(chunks).toString(), request.headers);
      console.log(`verified ${request.headers["webhook-id"]}`);
      response.writeHead(204).end();
    } catch (error) {
      console.log(`refused ${error.message}`);
      response.writeHead(400).end();
    }
  });
});
server.listen(0, "127.0.0.1", () => console.log(`listening ${server.address().port}`));
