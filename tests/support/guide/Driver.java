import java.util.Map;

/** Runs the guide's Java: Driver KEY ID TIMESTAMP SIGNATURES <body */
public final class Driver {
    public static void main(String[] given) throws Exception {
        Map<String, String> headers =
                Map.of("webhook-id", given[1], "webhook-timestamp", given[2], "webhook-signature", given[3]);
        try {
            Webhook.verify(headers, System.in.readAllBytes(), given[0]);
        } catch (SecurityException refused) {
            System.out.println(refused.getMessage());
            System.exit(1);
        }
    }
}
