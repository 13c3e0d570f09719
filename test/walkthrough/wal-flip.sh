# wal-flip.sh
# We are alternatively running stall and unstall at increasing periods of 5s up to 40s
while (true)
do
date
echo "Stalling"
sudo echo '259:0 rbps=4 wbps=4' > /sys/fs/cgroup/system.slice/holdfast-engine.service/io.max
sleep 5
date
echo "Unstalling"
sudo echo '259:0 rbps=max wbps=max' > /sys/fs/cgroup/system.slice/holdfast-engine.service/io.max
sleep 10
date
echo "Stalling"
sudo echo '259:0 rbps=4 wbps=4' > /sys/fs/cgroup/system.slice/holdfast-engine.service/io.max
sleep 15
date
echo "Unstalling"
sudo echo '259:0 rbps=max wbps=max' > /sys/fs/cgroup/system.slice/holdfast-engine.service/io.max
sleep 20
date
echo "Stalling"
sudo echo '259:0 rbps=4 wbps=4' > /sys/fs/cgroup/system.slice/holdfast-engine.service/io.max
sleep 40
echo "UnStalling"
sudo echo '259:0 rbps=max wbps=max' > /sys/fs/cgroup/system.slice/holdfast-engine.service/io.max
exit
done
# eof
