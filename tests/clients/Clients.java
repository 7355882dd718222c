// What a program in Java sends for a ulid: as clients.py, by JDBC.
//
//     java -cp postgresql.jar tests/clients/Clients.java jdbc URL

import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.List;

public class Clients {
  private static List<String> rows(Connection connection, String statement, Object... values) throws SQLException {
    try (PreparedStatement prepared = connection.prepareStatement(statement)) {
      for (int at = 0; at < values.length; at++) {
        if (values[at] instanceof String text) {
          prepared.setString(at + 1, text);
        } else {
          prepared.setObject(at + 1, values[at]);
        }
      }
      List<String> rows = new ArrayList<>();
      if (prepared.execute()) {
        ResultSet result = prepared.getResultSet();
        while (result.next()) {
          rows.add(result.getString(1));
        }
      }
      return rows;
    }
  }

  private static void equal(List<String> expected, List<String> found) {
    if (!expected.equals(found)) {
      throw new AssertionError(found + " rather than " + expected);
    }
  }

  public static void main(String[] arguments) throws SQLException {
    // The URL of libpq: postgresql://user@host:port/database.
    String[] parts = arguments[1].replaceFirst("^postgresql://", "").split("@", 2);
    String url = "jdbc:postgresql://" + parts[1] + "?user=" + parts[0];
    try (Connection connection = DriverManager.getConnection(url)) {
      List<String> positions = rows(connection, "select id from tidings.event order by id");
      String first = positions.get(0);
      rows(connection, "select tidings.poll(?, ?)", "client", 1);
      rows(connection, "select tidings.ack(?, ?)", "client", first);
      rows(connection, "select tidings.seek(?, to_id => ?)", "client", first);
      List<String> after = positions.subList(1, positions.size());
      equal(after, rows(connection, "select id from tidings.events_after(?)", first));
      Object some = connection.createArrayOf("varchar", positions.subList(0, 2).toArray());
      equal(positions.subList(0, 2), rows(connection, "select id from tidings.event where id = any(?) order by id", some));
      rows(connection, "create temporary table own (id tidings.ulid primary key)");
      rows(connection, "insert into own values (?)", first);
      rows(connection, "update own set id = ? where id = ?", first, first);
      // So often that the driver prepares it on the server.
      for (int time = 0; time < 10; time++) {
        equal(List.of(first), rows(connection, "select id from own where id in (?, ?)", first, positions.get(1)));
      }
      String version = connection.getMetaData().getDriverVersion();
      System.out.println("{\"client\": \"jdbc\", \"version\": \"" + version + "\"}");
    }
  }
}
