module A where

total :: [Int] -> Int
total = go 0
  where
    go acc [] = acc
    go acc (x:xs) = go (acc + x) xs

twice :: Int -> Int
twice x = x * 2
