import java.awt.Font;
import java.awt.Graphics2D;
import java.awt.GraphicsEnvironment;
import java.awt.image.BufferedImage;
import java.io.ByteArrayOutputStream;
import java.io.File;
import java.nio.charset.Charset;
import java.security.KeyStore;
import java.time.ZoneId;
import java.util.Arrays;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;
import javax.net.ssl.X509TrustManager;

/** Java as uid 65532: certificates, TLS, time zones, UTF-8, fonts, images, processes. */
public class Check {
    static void check(boolean holds, Object what) {
        if (!holds) {
            throw new IllegalStateException(String.valueOf(what));
        }
    }

    public static void main(String[] args) throws Exception {
        System.setProperty("java.awt.headless", "true");
        TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init((KeyStore) null);
        int anchors = ((X509TrustManager) trust.getTrustManagers()[0]).getAcceptedIssuers().length;
        check(anchors >= 140, anchors);
        SSLContext.getDefault().getSocketFactory();
        check(ZoneId.getAvailableZoneIds().size() > 500, "zones");
        ZoneId.of("Asia/Tokyo");
        check(Charset.defaultCharset().name().equals("UTF-8"), Charset.defaultCharset());
        check(System.getProperty("sun.jnu.encoding").equals("UTF-8"), System.getProperty("sun.jnu.encoding"));
        check(System.getProperty("user.name").equals("nonroot"), System.getProperty("user.name"));
        int fonts = GraphicsEnvironment.getLocalGraphicsEnvironment().getAllFonts().length;
        check(fonts >= 10, fonts);
        BufferedImage image = new BufferedImage(99, 50, BufferedImage.TYPE_INT_RGB);
        Graphics2D graphics = image.createGraphics();
        graphics.setFont(new Font("DejaVu Sans", Font.PLAIN, 20));
        graphics.drawString("text", 2, 30);
        check(javax.imageio.ImageIO.write(image, "jpg", new ByteArrayOutputStream()), "jpeg");
        check(new File("/tmp/fi\u00df").createNewFile(), "a file");
        check(Arrays.asList(new File("/tmp").list()).contains("fi\u00df"), "its name");
        check(new ProcessBuilder("/usr/bin/java", "-version").start().waitFor() == 0, "a process");
        System.out.println("java is well: " + anchors + " anchors, " + fonts + " fonts");
    }
}
