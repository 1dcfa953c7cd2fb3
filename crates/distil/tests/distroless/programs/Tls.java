import javax.net.ssl.SSLHandshakeException;
import javax.net.ssl.SSLParameters;
import javax.net.ssl.SSLSocket;
import javax.net.ssl.SSLSocketFactory;

/** A TLS handshake with what is trusted by default: {@code Tls PORT}. */
public class Tls {
    public static void main(String[] args) throws Exception {
        int port = Integer.parseInt(args[0]);
        try (SSLSocket socket = (SSLSocket) SSLSocketFactory.getDefault().createSocket("localhost", port)) {
            SSLParameters parameters = socket.getSSLParameters();
            parameters.setEndpointIdentificationAlgorithm("HTTPS");
            socket.setSSLParameters(parameters);
            socket.startHandshake();
            System.out.println("connected by " + socket.getSession().getProtocol());
        } catch (SSLHandshakeException error) {
            System.out.println("refused: " + error.getMessage());
        }
    }
}
