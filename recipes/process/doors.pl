# The same environment in Perl: edgexp run "process:perl recipes/process/doors.pl"
use strict; use warnings; use JSON::PP;
$| = 1;
my $way_out = 0;
sub task { my ($id) = @_; my @parts = split m{/}, $id; return { id => $id, environment => "doors", split => $parts[1], type => "door" } }
my %members = (
  hello => sub { { name => "doors", version => "1", max_steps => 5, splits => ["train", "test"], offers => ["admissible"],
                   instructions => "Answer with one action: read sign, or open door [number]." } },
  tasks => sub { my ($g) = @_; [map { task("doors/$g->{split}/$_") } 0 .. 29] },
  task => sub { task($_[0]{task_id}) },
  reset => sub { $way_out = (split m{/}, $_[0]{task}{id})[2] % 3 + 1;
                 { goal => "leave the room.", observation => "You see three doors and a sign." } },
  admissible => sub { ["read sign", "open door 1", "open door 2", "open door 3"] },
  step => sub {
    my $action = $_[0]{action};
    return { observation => "The sign says: the way out is door $way_out." } if $action eq "read sign";
    my $won = $action eq "open door $way_out" ? 1 : 0;
    return { observation => $won ? "You are out." : "A brick wall.", reward => $won, done => $won, success => $won, score => $won };
  },
);
while (my $line = <STDIN>) {
  my $asked = decode_json($line);
  print encode_json({ id => $asked->{id}, answer => $members{ $asked->{call} }->($asked->{arguments}) }), "\n";
}
