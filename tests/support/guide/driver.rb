# Runs the guide's Ruby: driver.rb KEY ID TIMESTAMP SIGNATURES <body
require_relative "snippet"

key, id, timestamp, signatures = ARGV
headers = { "webhook-id" => id, "webhook-timestamp" => timestamp, "webhook-signature" => signatures }
begin
  Webhook.verify(headers, $stdin.binmode.read, key)
rescue Webhook::Refused => error
  puts error.message
  exit 1
end
